"""A sweep as a page: totals, a line for each family, reasons, what is open."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from zooalign.coverage.examine import NOT_ASKED
from zooalign.coverage.picture import draw
from zooalign.coverage.reasons import MATHEMATICAL, MEANING
from zooalign.coverage.rows import LimitRow, Row
from zooalign.coverage.summary import OUTCOMES, by_modality, summarise, unknown_operators
from zooalign.coverage.sweep import catalogue
from zooalign.errors import DataError, ModelReferenceError
from zooalign.zoo.files import atomic_write

__all__ = ["page", "write_report"]


def write_report(rows: Iterable[Row], output: Path | str, *, source: str) -> tuple[Path, Path]:
    """Write a page about the rows of a sweep, and its picture in ``images`` beside it.

    Parameters
    ----------
    source:
        The sweep's file, as the page names it in the command that makes it again.

    Raises
    ------
    DataError
        If there are no rows, or ``output`` is not a ``.md`` file.
    """
    target = Path(output)
    ordered = sorted(rows, key=lambda row: (row["family"], row["reference"]))
    if target.suffix != ".md" or not ordered:
        raise DataError(f"a report is a .md file of one architecture or more, not '{target.name}'")
    picture = target.parent / "images" / f"{target.stem}.svg"
    drawn = draw([row for row in ordered if row["error"] is None])
    picture.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(picture, drawn)
    listed = _listed(ordered[0]["reference"].partition(":")[0])
    text = page(
        ordered,
        picture=f"images/{picture.name}",
        source=source,
        name=target.name,
        listed=listed,
        docs=_docs(target),
    )
    atomic_write(target, text.encode())
    return target, picture


def _docs(target: Path) -> str:
    """The way from a page to the folder of the other pages."""
    for up in ("", "../"):
        if (target.parent / up / "extraction.md").is_file():
            return up
    return ""


def _listed(library: str) -> int | None:
    """How many architectures the library has, if it is installed."""
    try:
        return len(catalogue(library).names())
    except ModelReferenceError:
        return None


def page(
    rows: Sequence[Row],
    *,
    picture: str,
    source: str,
    name: str,
    listed: int | None = None,
    docs: str = "",
) -> str:
    """The page as Markdown.

    ``listed`` is how many architectures the library has, ``docs`` the way to the other pages.
    """
    library = rows[0]["reference"].partition(":")[0]
    totals = summarise(rows)
    parts = [
        f"# Coverage: {library}\n",
        f"What zooalign derives for {totals['architectures']} architectures of {library} in "
        f"{totals['families']} families, {_complete(totals['architectures'], listed, library)}. "
        f"{_run(totals)} of them were run with numbers: {_outcomes(totals)}; {_rest(totals)}. "
        "No weight is read: a spec is a fact about an architecture. "
        "How specs are derived and checked is described in "
        f"[extraction.md]({docs}extraction.md), every field in [cli.md]({docs}cli.md).\n",
        f"![Size of the groups, cost and memory over all architectures]({picture})\n",
        "```sh",
        f"zooalign coverage --library {library}{_flags(rows)} --jobs 2 -o {Path(source).name}",
        f"zooalign coverage --report {Path(source).name} -o {name}",
        "```\n",
        f"Versions: {_versions(rows)}.\n",
        "## In all\n",
        *_totals(totals),
        *_modalities(rows),
        "\n## Families\n",
        _EXPLAINED,
        *_families(rows),
        "\n## Why axes do not move\n",
        *_reasons(rows, totals),
        *_open(rows, totals),
    ]
    return "\n".join(parts) + "\n"


def _complete(swept: int, listed: int | None, library: str) -> str:
    if listed is None or listed == swept:
        return "all that it has" if listed else "those that were swept"
    return f"of the {listed} names that {library} has: **the sweep is not complete**"


def _run(totals: Mapping[str, Any]) -> int:
    return sum(int(totals[name]) for name in OUTCOMES)


def _outcomes(totals: Mapping[str, Any]) -> str:
    """What became of the specs of those that were run, in words."""
    held = f"{totals['held']} held on numbers (by an earlier version), " if totals["held"] else ""
    return (
        f"{totals['proved']} specs are proved operator by operator, {held}{totals['refuted']} "
        f"refuted, {totals['not_shown']} not shown"
    )


def _rest(totals: Mapping[str, Any]) -> str:
    """What became of those that were not run."""
    rest = [f"{totals['extracted'] - _run(totals)} more are derived and not run"]
    if failed := totals["architectures"] - totals["extracted"]:
        rest.append(f"{failed} are not derived, each with its reason under Findings")
    return ", ".join(rest)


def _flags(rows: Sequence[Row]) -> str:
    """Of the command: how much was run, and whether the converse test was left out."""
    families = {row["family"] for row in rows}
    run = sum(row["verification"] is not None for row in rows)
    tested = any(row["converse"] is not None for row in rows)
    # Most were run, and more than one of each family and those with the rarer blocks.
    flags = " --verify all" if len(rows) > len(families) and 2 * run > len(rows) else ""
    return flags + (" --no-converse" if run and not tested else "")


_EXPLAINED = """\
One line a family. *Smallest* is the one swept with the fewest parameters; the next four columns
are about it. *log10 order* is the base-10 logarithm of the number of permutations that leave its
function as it is; *free* the share of its hidden units that a group moves; *error* the largest
deviation of an operator's result from what the spec says, in float64 unless the model computes
parts in less (in lines of earlier versions: the largest change of the outputs); *converse* how many
transpositions of two frozen units were tried, all of which must change the output, but for
positions that always hold the same value or that nothing reads. *Cost* is the time of everything
after `torch.export`, in units of the time of `torch.export`, as the median over the family
and the largest.
"""


def _versions(rows: Sequence[Row]) -> str:
    versions: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for package, version in row["versions"].items():
            versions[package].add(version)
    return ", ".join(f"{p} {' and '.join(sorted(v))}" for p, v in versions.items())


def _totals(totals: Mapping[str, Any]) -> Iterator[str]:
    cost = totals["after_over_export"]
    seconds = totals["seconds"]
    yield "| | |"
    yield "|---|---|"
    yield f"| architectures, families | {totals['architectures']}, {totals['families']} |"
    yield f"| spec derived | {totals['extracted']} |"
    yield f"| proved operator by operator | {totals['proved']} |"
    if totals["held"]:
        yield f"| held on numbers, by an earlier version | {totals['held']} |"
    if totals["blocks"] is not None:
        blocks = totals["blocks"]
        yield (
            "| kinds of blocks (classes of modules), in one whose spec holds | "
            f"{blocks['all']}, {blocks['verified']} |"
        )
    yield f"| **refuted** | **{totals['refuted']}** |"
    yield f"| not shown | {totals['not_shown']} |"
    yield f"| with an operator that is not known | {totals['unknown_operators']} |"
    yield f"| converse test passed | {totals['converse']} |"
    yield f"| a symmetry was missed | {totals['missed']} |"
    frozen = sum(totals["reasons"].values())
    yield f"| frozen axes, by a limit of zooalign | {frozen}, {totals['limits']} |"
    yield (
        f"| processor minutes in `torch.export`, after it | {seconds['export'] / 60:.1f}, "
        f"{seconds['after_export'] / 60:.1f} |"
    )
    if cost["median"] is not None:
        families = cost["families"]
        yield (
            "| cost over all architectures, median and largest | "
            f"{cost['median']:.2f}, {cost['max']:.2f} |"
        )
        yield (
            "| cost over families (each the median of its architectures), median and largest | "
            f"{families['median']:.2f}, {families['max']:.2f} |"
        )
    if totals["peak_bytes"] is not None:
        yield f"| peak memory of a process, at most | {totals['peak_bytes'] / 1e9:.2f} GB |"


def _modalities(rows: Sequence[Row]) -> Iterator[str]:
    counts = by_modality(rows)
    if not counts:
        return
    yield "\n## By what goes in\n"
    yield "*Run* are those that a run with values captured, because a step depends on inputs.\n"
    held = ["held"] if any(count["held"] for count in counts.values()) else []
    names = ("attempted", "exported", "run", "proved", *held, "**refuted**", "not shown")
    yield f"| inputs | {' | '.join(names)} | unknown operators |"
    yield f"|---{'|---' * len(names)}|---|"
    keys = ("attempted", "exported", "by_values", "proved", *held, "refuted", "not_shown")
    keys = (*keys, "unknown_operators")
    for name, count in counts.items():
        yield f"| {name} | {' | '.join(str(count[key]) for key in keys)} |"
    whole = [str(sum(count[key] for count in counts.values())) for key in keys]
    yield f"| **all** | {' | '.join(whole)} |"
    unknown = unknown_operators(rows)
    if unknown:
        yield "\nOperators without a rule, and in how many architectures they occur:\n"
        yield ", ".join(f"`{name}` {count}" for name, count in unknown.items())


def _families(rows: Sequence[Row]) -> Iterator[str]:
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        families[row["family"]].append(row)
    yield "| family | derived | smallest | log10 order | free | error | converse | cost |"
    yield "|---|---|---|---|---|---|---|---|"
    for family, members in sorted(families.items()):
        good = [row for row in members if row["error"] is None]
        derived = f"{len(good)} of {len(members)}"
        if not good:
            yield f"| {family} | {derived} | | | | | | |"
            continue
        small = min(good, key=lambda row: (row["parameters"], row["name"]))
        free = small["free_hidden_units"]
        yield (
            f"| {family} | {derived} | `{small['name']}` | {small['log10_order']:.2f} | "
            f"{'' if free is None else f'{100 * free:.1f} %'} | {_checked(small)} | "
            f"{_converse(small)} | {_cost(good)} |"
        )


def _checked(row: Row) -> str:
    check = row["verification"]
    if check is None:
        return row["not_verified"] or ""
    error = f"{check['max_relative_error']:.0e}"
    how = "" if check["how"] == "as it is" else f" ({check['how']})"
    return (
        f"{error}{how}" if check["ok"] else f"**{check.get('verdict', 'refuted')}, {error}**{how}"
    )


def _converse(row: Row) -> str:
    test = row["converse"]
    if test is None:
        return ""
    missed = sum(not pair["mixable"] for pair in test["unchanged"])
    return f"{test['transpositions']}" + (f", **{missed} missed**" if missed else "")


def _cost(rows: Sequence[Row]) -> str:
    ratios = [
        row["seconds"]["after_export"] / row["seconds"]["export"]
        for row in rows
        if row["seconds"]["export"] > 0
    ]
    return f"{median(ratios):.2f}, {max(ratios):.2f}" if ratios else ""


def _reasons(rows: Sequence[Row], totals: Mapping[str, Any]) -> Iterator[str]:
    yield "| reason | axes | architectures | |"
    yield "|---|---|---|---|"
    for kind, count in totals["reasons"].items():
        having = sum(kind in (row["frozen"] or {}) for row in rows)
        meaning = MEANING.get(kind, "**a limit of zooalign**")
        yield f"| {kind} | {count} | {having} | {meaning} |"


def _open(rows: Sequence[Row], totals: Mapping[str, Any]) -> Iterator[str]:
    if totals["findings"]:
        yield "\n## Findings\n"
        for finding in totals["findings"]:
            yield f"- `{finding['name']}`: {finding['what']}"
    waiting = [
        row for row in rows if row["error"] is None and row["not_verified"] not in (None, NOT_ASKED)
    ]
    if waiting:
        yield "\n## Not run\n"
        for row in waiting:
            yield f"- `{row['name']}`: {row['not_verified']}"
    limited = [row for row in rows if set(row["frozen"] or ()) - MATHEMATICAL]
    if limited:
        yield "\n## Limits\n"
        yield "Axes that are frozen because zooalign does not know better:\n"
        for row in limited:
            first = "; ".join(_limit(entry) for entry in (row["limits"] or ())[:3])
            yield f"- `{row['name']}`: {first}"


def _limit(entry: LimitRow) -> str:
    detail = f" ({entry['detail']})" if entry["detail"] else ""
    return f"{entry['kind']}{detail}, at {entry['operator']}: `{entry['first']}`"
