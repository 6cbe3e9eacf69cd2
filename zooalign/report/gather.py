"""What a page shows of a release, a spec, curves or a connectivity report."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from zooalign.errors import DataError, MergeError, ZooalignError
from zooalign.gate.check import check_opened
from zooalign.gate.checks import all_checks
from zooalign.gate.policy import Policy
from zooalign.pipelines.connectivity import REPORT
from zooalign.pipelines.connectivity_result import ConnectivityResult, PairResult
from zooalign.progress import Progress
from zooalign.release import layout
from zooalign.release.curves import MeasuredCurve, curves_from_json
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.results import plain
from zooalign.release.settings import CheckRequest
from zooalign.report.content import CheckPart, Content, LayerGraph, Structure
from zooalign.report.limits import MOST_PAIRS
from zooalign.report.operators import layer_graph
from zooalign.report.structure import structure_of
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.spec_file import from_json

__all__ = ["content_of"]

_READABLE = (
    "connectivity.json, the curves of zooalign barrier or of a release (barrier.json), or a spec "
    "(spec.json)"
)


def content_of(
    reference: str, request: CheckRequest, policy: Policy | None, progress: Progress
) -> Content:
    """What a page shows of ``reference``.

    Parameters
    ----------
    reference:
        A release (directory or hub repo), a directory or file that ``zooalign connectivity`` or
        ``zooalign barrier`` wrote, or a spec file.
    request, policy:
        Of the gate, which checks releases alone.

    Raises
    ------
    DataError
        If the file is none of these, or the gate was asked for something of a file.
    ZooalignError
        If the release cannot be opened.
    """
    path = _measurement(Path(reference))
    if path is None:
        with open_release(reference, request) as release:
            return _of_release(release, policy, progress)
    if request != CheckRequest():
        raise DataError(
            f"'{reference}' holds a measurement, which the gate does not check: leave out the "
            "options of the gate, or name a release"
        )
    return _of_file(path, _text(path))


def _measurement(path: Path) -> Path | None:
    """The file of a measurement, where the path names one; else it is to be a release."""
    if path.is_file():
        return path
    return path / REPORT if (path / REPORT).is_file() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as text: {error}") from error


# -------------------------------------------------------------------------------------- files


def _of_file(path: Path, text: str) -> Content:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not JSON: {error}; a report reads {_READABLE}") from error
    content = Content(
        kind="curves", title=path.name, reference=str(path), version=version("zooalign")
    )
    keys = body.keys() if isinstance(body, dict) else ()
    if "networks" in keys and "pairs" in keys:
        return _of_connectivity(content, path, text)
    if "groups" in keys and "shapes" in keys:
        structure, left_out = structure_of(from_json(text, str(path)))
        return replace(content, kind="spec", structure=structure, left_out=left_out)
    if "curves" in keys:
        return replace(content, curves=_curves(path, body["curves"]))
    raise DataError(f"'{path}' is nothing that a report shows: it reads {_READABLE}")


def _curves(path: Path, curves: Any) -> tuple[dict[str, Any], ...]:
    """Those of a release have a label; those of ``zooalign barrier`` are told by their method."""
    if not isinstance(curves, list) or not all(isinstance(curve, dict) for curve in curves):
        raise DataError(f"'{path}': its 'curves' are not a list of curves")
    labelled = [{"label": curve.get("align"), **curve} for curve in curves]
    try:
        return tuple(one.to_dict() for one in msgspec.convert(labelled, list[MeasuredCurve]))
    except (msgspec.ValidationError, MergeError) as error:
        raise DataError(f"'{path}' holds no curves of version 1: {error}") from error


def _of_connectivity(content: Content, path: Path, text: str) -> Content:
    try:
        result = msgspec.json.decode(text, type=ConnectivityResult)
    except (msgspec.ValidationError, MergeError) as error:
        raise DataError(f"'{path}' is no report of zooalign connectivity: {error}") from error
    left_out: tuple[str, ...] = ()
    if len(result.pairs) > MOST_PAIRS:
        left_out = (
            f"{len(result.pairs) - MOST_PAIRS} of {len(result.pairs)} curves: those with the "
            "greatest barriers are shown",
        )
        worst = sorted(result.pairs, key=_loss_barrier, reverse=True)[:MOST_PAIRS]
        result = replace(result, pairs=tuple(pair for pair in result.pairs if pair in worst))
    title = f"Connectivity of {len(result.networks)} networks"
    return replace(
        content, kind="connectivity", title=title, connectivity=plain(result), left_out=left_out
    )


def _loss_barrier(pair: PairResult) -> float:
    return pair.barrier["loss"].over_line


# -------------------------------------------------------------------------------------- releases


def _of_release(release: OpenedRelease, policy: Policy | None, progress: Progress) -> Content:
    report = check_opened(release, policy=policy, progress=progress)
    problems: list[str] = []
    progress("structure", 0, 1)
    spec = _recorded_or_derived(release, problems)
    structure, graph = None, None
    left_out: tuple[str, ...] = ()
    if spec is not None:
        structure, left_out = structure_of(spec, _permutations(release, spec, problems))
        graph, operators_left_out = _graph(release, structure, problems)
        left_out = (*left_out, *operators_left_out)
    curves: tuple[MeasuredCurve, ...] = ()
    with _noted(problems, "The barrier curves"):
        curves = curves_from_json(release.text(layout.BARRIER))
    provenance = release.provenance.to_dict() if release.has("provenance") else None
    return Content(
        kind="release",
        title=release.reference.rstrip("/").rpartition("/")[2] or release.reference,
        reference=release.reference,
        version=version("zooalign"),
        gate=report.to_dict(),
        checks=tuple(CheckPart(check.id, check.title) for check in all_checks()),
        provenance=provenance,
        structure=structure,
        graph=graph,
        curves=tuple(curve.to_dict() for curve in curves),
        problems=tuple(problems),
        left_out=left_out,
    )


def _recorded_or_derived(release: OpenedRelease, problems: list[str]) -> PermutationSpec | None:
    if release.has("spec"):
        return release.spec
    problems.append(
        f"There is no valid recorded spec ({release.problem('spec')}): the structure is that of "
        "the architecture."
    )
    with _noted(problems, "The structure"):
        return release.derived_spec
    return None


def _permutations(
    release: OpenedRelease, spec: PermutationSpec, problems: list[str]
) -> list[Permutation]:
    """Those of the recorded alignments, in their order; none where one cannot be read."""
    alignments = release.provenance.alignments if release.has("provenance") else ()
    permutations = []
    with _noted(problems, "What moved"):
        for alignment in alignments:
            permutation = release.permutation(alignment.permutation)
            spec.check(permutation)
            permutations.append(permutation)
        return permutations
    return []


def _graph(
    release: OpenedRelease, structure: Structure, problems: list[str]
) -> tuple[LayerGraph | None, tuple[str, ...]]:
    with _noted(problems, "The dependency graph"):
        _ = release.model
        return layer_graph(release.derived, structure)
    return None, ()


@contextmanager
def _noted(problems: list[str], what: str) -> Iterator[None]:
    """Note an error of a part of a release: the page shows the others."""
    try:
        yield
    except ZooalignError as error:
        problems.append(f"{what} cannot be shown: {error}")
