"""The model card of a released directory."""

import html
from collections.abc import Iterable, Sequence

from huggingface_hub import ModelCardData

from zooalign.merging.evaluate import Score
from zooalign.release.curves import MeasuredCurve
from zooalign.release.layout import PERMUTATION_ONLY
from zooalign.release.provenance import DataUse, Provenance, ScoreRecord
from zooalign.release.sources import Ancestor, Source
from zooalign.symmetry import PermutationSpec
from zooalign.text import printable

__all__ = ["card_license", "make_card"]

_LIBRARIES = {"timm": "timm", "transformers": "transformers"}
_RELATION = {"merge": "merge", "align": "finetune"}
_GROUPS_SHOWN = 12
_STALE = (
    "> **Stale statistics.** The running statistics of this model's normalisation layers are the "
    "average of the parents', which does not fit the merged weights. Recompute them on training "
    "data before you use it."
)


def make_card(
    provenance: Provenance,
    *,
    title: str,
    library: str,
    curves: Sequence[MeasuredCurve] = (),
    plot: str | None = None,
    spec: PermutationSpec | None = None,
    permutation_only: str | None = None,
) -> str:
    """The text of ``README.md``: YAML for the hub, then what was done, in words and numbers.

    ``base_model`` lists every hub repo behind the sources. The licence is theirs where all state
    the same one; otherwise it is ``other``, and the card says why. With ``spec`` the permuted
    groups are summed up. ``permutation_only`` is the repo of a release without weights.
    """
    repos = list(dict.fromkeys(r.repo for source in provenance.sources for r in source.repos))
    licence, reason = card_license(provenance.sources)
    data = ModelCardData(
        library_name=_LIBRARIES.get(library),
        license=licence,
        license_name="see-parents" if licence == "other" else None,
        base_model=repos or None,
        tags=["zooalign", provenance.operation, "permutation-symmetry"],
    )
    if provenance.method in ("activation", "weight"):
        data["tags"].append("git-rebasin")
    if permutation_only is not None:
        data.library_name = None
        data["tags"].append(PERMUTATION_ONLY)
    elif repos:
        data["base_model_relation"] = _RELATION[provenance.operation]
    parts = [
        f"# {_plain(title)}",
        _summary(provenance),
        *([] if permutation_only is None else [_apply(provenance, permutation_only)]),
        *([_STALE] if provenance.stale_statistics else []),
        "## Parents",
        _parents(provenance),
        f"Licence: {reason}",
        *(["## Alignment", _alignments(provenance)] if provenance.alignments else []),
        *([_groups(spec)] if spec is not None and spec.groups else []),
        *(["## Barrier", _barriers(curves)] if curves else []),
        *([f"![Loss and error along the line between the networks]({plot})"] if plot else []),
        *([_score(provenance.score)] if provenance.score else []),
        *(["## Beside its parents", _benefit(provenance)] if provenance.benefit else []),
        "## How to reproduce",
        _reproduce(provenance),
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def card_license(sources: Iterable[Source]) -> tuple[str, str]:
    """The licence identifier for the card, and a sentence on where it comes from."""
    stated: dict[str, str | None] = {}
    for source in sources:
        behind = source.repos or (Ancestor(source.reference, "", source.license),)
        for ancestor in behind:
            stated[ancestor.repo] = ancestor.license or source.license
    known = set(stated.values())
    if len(known) == 1 and None not in known:
        licence = str(known.pop())
        if licence != "other":
            return licence, f"{licence}, as all parents."
    each = "; ".join(f"{name}: {value or 'none stated'}" for name, value in stated.items())
    return "other", (
        f"the parents do not all state the same licence ({each}); read each of them to see what "
        "may be done with this model."
    )


def _summary(provenance: Provenance) -> str:
    name = provenance.architecture.get("name", "")
    how = {
        "activation": "matched by their activations",
        "weight": "matched by their weights",
        "none": "as they were, without alignment",
    }.get(provenance.method, f"matched by the method `{provenance.method}`")
    if provenance.operation == "align":
        source, target = provenance.sources[1].reference, provenance.sources[0].reference
        return (
            f"`{source}` ({name}) with its units reordered to match those of `{target}`, {how}. It "
            "computes the same function as before; its weights can be averaged with those of "
            f"`{target}`."
        )
    weights = ", ".join(f"{w:.3g}" for w in provenance.weights or ())
    combination = provenance.combination
    what = (
        f"average (weights {weights})" if combination is None else f"`{combination.method}` merge"
    )
    return (
        f"The {what} of {len(provenance.sources)} networks of architecture "
        f"{name}, with units reordered to match the first one's ({how}). "
        + {
            "reset": "Running statistics were recomputed on calibration data. ",
            "repaired": "Activation statistics were repaired (REPAIR, arXiv 2211.08403).",
        }.get(provenance.statistics, "")
        + (provenance.refit.in_words if provenance.refit else "")
    ).strip()


def _apply(provenance: Provenance, repo: str) -> str:
    source = provenance.sources[1]
    parent = f"{source.repo}@{source.commit}" if source.repo else source.reference
    return (
        "> **The permutation alone.** This repo holds no weights. Apply it to the model it was "
        f"made for:\n\n```sh\nzooalign apply {_plain(parent)} {repo} -o aligned\n```"
    )


def _groups(spec: PermutationSpec) -> str:
    rows = sorted(spec.summary(), key=lambda row: -row[1])
    lines = [
        f"{len(spec.groups)} groups of units are permuted:",
        "",
        "| structure | groups | axes |",
        "|---|---|---|",
        *(f"| {_cell(kind)} | {count} | {axes} |" for kind, count, axes in rows[:_GROUPS_SHOWN]),
    ]
    if len(rows) > _GROUPS_SHOWN:
        rest = rows[_GROUPS_SHOWN:]
        lines.append(
            f"| {len(rest)} others | {sum(r[1] for r in rest)} | {sum(r[2] for r in rest)} |"
        )
    return "\n".join(lines)


def _parents(provenance: Provenance) -> str:
    lines = ["| | parent | commit | licence | weights (SHA-256) |", "|---|---|---|---|---|"]
    for source in provenance.sources:
        hashes = "<br>".join(f"{_cell(f.name)} `{f.sha256[:16]}`" for f in source.files)
        commit = f"`{source.commit}`" if source.commit else "local"
        lines.append(
            f"| {source.role} | {_cell(source.reference)} | {commit} "
            f"| {_cell(source.license or 'none stated')} | {hashes} |"
        )
    for source in provenance.sources:
        for ancestor in source.ancestors:
            lines.append(
                f"| behind {_cell(source.reference)} | {_cell(ancestor.repo)} "
                f"| `{ancestor.commit}` | {_cell(ancestor.license or 'none stated')} | |"
            )
    return "\n".join(lines)


def _alignments(provenance: Provenance) -> str:
    lines = [
        f"Permutation group of order 10^{provenance.log10_order:.2f}; spec "
        f"`{provenance.spec_hash[:16]}`.",
        "",
        "| parent | units moved | objective before | after | error of function | allowed |",
        "|---|---|---|---|---|---|",
    ]
    for alignment in provenance.alignments:
        before, after = alignment.objective_before, alignment.objective_after
        lines.append(
            f"| {_cell(provenance.sources[alignment.source].reference)} "
            f"| {alignment.moved_fraction:.1%} | {before:.4f} | {after:.4f} "
            f"| {alignment.max_relative_error:.1e} | {alignment.tolerance:.1e} |"
        )
    told = dict.fromkeys(t for a in provenance.alignments for t in a.told(provenance.method))
    lines += ["", *(f"- {_cell(line)}" for line in told)]
    verdicts = [str(a.diagnosis.get("verdict", "")) for a in provenance.alignments]
    return "\n".join([*lines, "", *(v for v in verdicts if v)])


def _barriers(curves: Sequence[MeasuredCurve]) -> str:
    lines = [
        "| curve | data | quantity | over the line | over the mean | midpoint accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for curve in curves:
        middle = min(range(len(curve.alphas)), key=lambda i: abs(curve.alphas[i] - 0.5))
        accuracy = curve.accuracy
        for name, barrier in curve.barrier.items():
            lines.append(
                f"| {_cell(curve.label)} | {_cell(curve.data)} | {name} "
                f"| {barrier.over_line:.4f} | {barrier.over_mean:.4f} "
                f"| {'' if accuracy is None else f'{accuracy[middle]:.4f}'} |"
            )
    notes = ["Running statistics were reset between the endpoints."] * any(
        measured.statistics_reset for measured in curves
    )
    return "\n".join([*lines, "", *notes]).rstrip()


def _score(score: ScoreRecord) -> str:
    return f"On {score.count} predictions the merge has {_cell(score.text)}."


def _benefit(provenance: Provenance) -> str:
    """The merge, its parents and their ensemble in a table, and what that means."""
    benefit = provenance.benefit
    assert benefit is not None
    shares = benefit.agreement
    references = [source.reference for source in provenance.sources]
    rows: list[tuple[str, Score | None, float | None]] = [("this merge", benefit.merge, None)]
    for index, reference in enumerate(references[: len(benefit.parents)]):
        agreement = shares.parents[index] if shares else None
        rows.append((f"parent {index + 1}: {reference}", benefit.parents[index], agreement))
    ensemble = shares.ensemble if shares else None
    rows.append(("mean of the parents' logits", benefit.ensemble, ensemble))
    lines = ["| | accuracy | loss | same answers as the merge |", "|---|---|---|---|"]
    for name, score, agreement in rows:
        accuracy = None if score is None else score.accuracy
        numbers = (accuracy, None if score is None else score.loss, agreement)
        cells = " | ".join("" if number is None else f"{number:.4f}" for number in numbers)
        lines.append(f"| {_cell(name)} | {cells} |")
    where = "other data than the merge was made with" if benefit.held_out else "calibration data"
    return "\n".join(
        [*lines, "", f"On `{_plain(benefit.data)}` ({where}). {_plain(benefit.verdict)}"]
    )


def _reproduce(provenance: Provenance) -> str:
    used = ", ".join(f"{name} {value}" for name, value in provenance.versions.items())
    data = provenance.data
    parts = []
    if provenance.command:
        parts.append(f"```sh\n{provenance.command}\n```")
    parts.append(f"Seed {provenance.seed}. With {used}.")
    if data is not None:
        digest = f", SHA-256 of its {data.digest_of} `{data.digest}`" if data.digest else ""
        parts.append(f"Calibration data: `{_plain(data.reference)}`, {_rows(data)}{digest}.")
    parts.append(
        "The folder `zooalign/` holds the permutation spec, the permutations and the full "
        "provenance; `zooalign check` verifies them."
    )
    return "\n\n".join(parts)


def _rows(data: DataUse) -> str:
    """How many rows were read: of data that a callable makes, only a limit is known."""
    if data.rows is not None:
        return f"{data.rows} rows"
    return "all rows it gives" if data.limit is None else f"at most {data.limit} rows"


def _plain(text: str) -> str:
    """One line for a code span or block, which the text cannot end."""
    return printable(" ".join(text.replace("`", "'").split()))


def _cell(text: str) -> str:
    """For a cell of a table: names come from strangers, and are neither HTML nor links."""
    return html.escape(_plain(text), quote=False).replace("|", "\\|").replace("[", "\\[")
