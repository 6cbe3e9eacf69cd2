"""Running a recipe: merge, gate, publish; or the recorded operation of a release."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from zooalign.errors import MergeError, SpecError
from zooalign.gate.check import check
from zooalign.gate.findings import CheckReport
from zooalign.gate.policy import find_policy, read_policy
from zooalign.pipelines.align import AlignReport, AlignResult
from zooalign.pipelines.merge import MergeReport, MergeResult, merge_models
from zooalign.pipelines.reproduce import run_recorded
from zooalign.progress import Progress, silent
from zooalign.publish.publish import PublishReport, publish
from zooalign.recipes.recipe import Recipe, RecipeError, read_recipe
from zooalign.release.provenance import Provenance
from zooalign.release.settings import (
    CheckRequest,
    PublishSettings,
    ReproduceSettings,
    RunSettings,
)

__all__ = ["RunReport", "RunResult", "run_recipe"]


@dataclass(frozen=True)
class RunResult:
    """The JSON of ``zooalign run`` (``docs/cli.md``)."""

    recipe: str
    output: str
    merge: MergeResult | None
    align: AlignResult | None
    check: CheckReport | None
    published: PublishReport | None


@dataclass(frozen=True)
class RunReport:
    """What a recipe did; ``report`` is of its merge or, of a record, its alignment."""

    recipe: str
    report: MergeReport | AlignReport
    check: CheckReport | None = None
    published: PublishReport | None = None

    @property
    def result(self) -> RunResult:
        """The JSON as a typed value."""
        merge = self.report.result if isinstance(self.report, MergeReport) else None
        align = self.report.result if isinstance(self.report, AlignReport) else None
        output = self.report.output
        return RunResult(self.recipe, output, merge, align, self.check, self.published)


def run_recipe(
    path: str,
    settings: RunSettings | None = None,
    *,
    command: str | None = None,
    progress: Progress = silent,
) -> RunReport:
    """Run a recipe, a configuration of mergekit, or the provenance of a release.

    Parameters
    ----------
    path:
        A YAML file, or ``zooalign/provenance.json`` of a release, whose operation is done again:
        into a directory of the release's name it writes the same bytes.
    command:
        The command line that does this again, for provenance.

    Raises
    ------
    RecipeError
        If it cannot be read.
    ZooalignError
        As for :func:`~zooalign.pipelines.merge.merge_models` and publishing.
    """
    settings = settings or RunSettings()
    recorded = _recorded(Path(path))
    if recorded is not None:
        if settings.output is None:
            raise MergeError(f"{path} is a record and names no directory to write: add -o DIR")
        again = ReproduceSettings(
            allow_code=settings.allow_code, allow_pickle=settings.allow_pickle
        )
        return RunReport(path, run_recorded(recorded, settings.output, again, progress))
    recipe = read_recipe(Path(path))
    _require_allowed(path, recipe, settings)
    output = settings.output or recipe.output
    if output is None:
        raise MergeError(f"{path} names no output: add one, or give -o DIR")
    merging = replace(
        recipe.settings,
        overwrite=settings.overwrite,
        dry_run=settings.dry_run,
        allow_pickle=settings.allow_pickle,
    )
    report = merge_models(recipe.references, output, merging, command=command, progress=progress)
    checked, published = None, None
    if not settings.dry_run:
        checked, published = _released(recipe, output, progress)
    return RunReport(path, report, checked, published)


def _released(
    recipe: Recipe, output: str, progress: Progress
) -> tuple[CheckReport | None, PublishReport | None]:
    """The gate, and what follows it."""
    gate = recipe.gate
    if gate is None and recipe.publish is None:
        return None, None
    policy = find_policy() if gate is None or gate.policy is None else read_policy(gate.policy)
    parents = tuple(recipe.references) if gate is None or gate.parents else ()
    request = CheckRequest(parents=parents, model=recipe.architecture)
    place = output if output.startswith((".", "/")) else f"./{output}"
    report = check(place, request, policy=policy, progress=progress)
    if recipe.publish is None or not report.ok:
        return report, None
    publishing = PublishSettings(
        private=recipe.publish.private,
        pull_request=recipe.publish.pull_request,
        message=recipe.publish.message,
    )
    to = recipe.publish.to
    return report, publish(
        output, to, publishing, request=request, policy=policy, progress=progress
    )


def _recorded(path: Path) -> Provenance | None:
    """The provenance in a file, None where it is something else."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") != Provenance.format:
        return None
    try:
        return Provenance.from_json(text, str(path))
    except SpecError as error:
        raise RecipeError(str(error)) from error


def _require_allowed(path: str, recipe: Recipe, settings: RunSettings) -> None:
    for text in recipe.code:
        if not settings.allow_code:
            raise RecipeError(
                f"{path} names Python code to run ({text}); look at it, and allow it "
                "(--allow-code) if you trust it"
            )
