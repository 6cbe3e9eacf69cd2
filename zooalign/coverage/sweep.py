"""Examine a library's architectures in worker processes, and continue where one stopped."""

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from zooalign.coverage.choose import Profile, covering, parameters_of, profile_of, smallest
from zooalign.coverage.examine import NOT_ASKED, Task, blank, examine
from zooalign.coverage.pool import Failure, Limits, run_all
from zooalign.coverage.results import Results, StoredResults
from zooalign.coverage.rows import Row
from zooalign.errors import ModelReferenceError
from zooalign.progress import Progress
from zooalign.zoo.adapters import Catalogue
from zooalign.zoo.libraries import adapter_named, library_adapters
from zooalign.zoo.references import QueryOptions, format_query

__all__ = ["Plan", "Verify", "catalogue", "planned", "sweep"]

Verify = Literal["none", "family", "blocks", "all"]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What to sweep.

    Attributes
    ----------
    library:
        Name of an adapter that is a :class:`~zooalign.zoo.adapters.Catalogue`.
    filters:
        Shell patterns of names; all names without any.
    smallest:
        Only the smallest architecture of each family (with ``verify="blocks"``: all that are
        verified).
    options:
        QueryOptions of every reference (``num_classes=0``).
    verify:
        Which architectures are verified: none, the smallest of each family, those plus enough
        small ones to cover every module class (block), or all.
    converse:
        Whether verified architectures are also searched for missed symmetries.
    budget:
        Maximum number of parameters of a module that is run.
    jobs:
        Worker processes.
    limits:
        Of one architecture.
    retry:
        Whether architectures that failed are retried.
    """

    library: str
    filters: Sequence[str] = ()
    smallest: bool = False
    options: QueryOptions = ()
    verify: Verify = "family"
    converse: bool = True
    budget: int = 300_000_000
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    retry: bool = False


def catalogue(library: str) -> Catalogue:
    """The adapter of a library that lists its architectures.

    Raises
    ------
    ModelReferenceError
        If there is no such library, or its adapter does not list architectures.
    """
    adapter = adapter_named(library)
    if not isinstance(adapter, Catalogue):
        able = [a.name for a in library_adapters() if isinstance(a, Catalogue)]
        raise ModelReferenceError(
            f"the adapter of {library!r} does not list architectures; these do: {', '.join(able)}"
        )
    return adapter


def sweep(plan: Plan, output: Path | str, progress: Progress) -> dict[str, Row]:
    """Examine what the plan asks for and ``output`` does not hold yet; one JSON line a model.

    Interrupted, it leaves whole lines; started again, it continues.

    Returns
    -------
    The rows of the plan's architectures, by reference.

    Raises
    ------
    ModelReferenceError
        If the library has no list, or no name fits the filters.
    DataError
        If ``output`` is another kind of file or in use.
    """
    families = _families(plan)
    with Results(output) as results:
        tasks = _tasks(plan, families, results, progress)
        missing = [task for task in tasks if _missing(plan, task, results.rows)]
        done = len(tasks) - len(missing)
        progress("architectures", done, len(tasks))
        for task, result in run_all(examine, missing, plan.jobs, plan.limits, _imports(plan)):
            results.add(_failed(task, result) if isinstance(result, Failure) else result)
            done += 1
            progress("architectures", done, len(tasks))
        results.tidy()
        return {task.reference: results.rows[task.reference] for task in tasks}


def planned(
    plan: Plan, output: Path | str, progress: Progress
) -> tuple[dict[str, Row], tuple[str, ...]]:
    """What :func:`sweep` would find in ``output``, and the references that it would examine.

    Nothing is written. Sizes are asked of the library where the plan needs them.

    Raises
    ------
    ModelReferenceError, DataError
        As :func:`sweep`.
    """
    families, results = _families(plan), StoredResults(output)
    tasks = _tasks(plan, families, results, progress)
    rows = {t.reference: results.rows[t.reference] for t in tasks if t.reference in results.rows}
    return rows, tuple(task.reference for task in tasks if _missing(plan, task, results.rows))


def _families(plan: Plan) -> dict[str, str]:
    """The names that fit the filters, each with its family."""
    listed = catalogue(plan.library)
    return {name: listed.family(name) for name in _filtered(listed.names(), plan.filters)}


def _tasks(
    plan: Plan, families: Mapping[str, str], results: Results | StoredResults, progress: Progress
) -> list[Task]:
    chosen: set[str] = set()
    if plan.smallest or plan.verify in ("family", "blocks"):
        chosen = _chosen(plan, families, results, progress)
    names = [name for name in families if name in chosen or not plan.smallest]
    return [_task(plan, name, families[name], name in chosen) for name in names]


def _imports(plan: Plan) -> Sequence[str]:
    """What every worker needs: the library bears the name of its package."""
    return examine.__module__, "torch._dynamo", plan.library


def _filtered(names: Sequence[str], filters: Sequence[str]) -> list[str]:
    fitting = [n for n in names if not filters or any(fnmatch.fnmatchcase(n, f) for f in filters)]
    if not fitting:
        raise ModelReferenceError(f"no architecture fits {', '.join(filters)}")
    return fitting


def _reference(plan: Plan, name: str) -> str:
    mark = "&" if "?" in name else "?"
    query = f"{mark}{format_query(plan.options)}" if plan.options else ""
    return f"{plan.library}:{name}{query}"


def _task(plan: Plan, name: str, family: str, chosen: bool) -> Task:
    wanted = plan.verify == "all" or (plan.verify != "none" and chosen)
    return Task(_reference(plan, name), name, family, wanted, plan.converse, plan.budget)


def _missing(plan: Plan, task: Task, rows: Mapping[str, Row]) -> bool:
    row = rows.get(task.reference)
    if row is None or (plan.retry and row["error"] is not None):
        return True
    return task.verify and row["error"] is None and row["not_verified"] == NOT_ASKED


def _failed(task: Task, failure: Failure) -> Row:
    row = blank(task)
    row["error"] = {"stage": "process", "type": failure.type, "message": failure.message}
    if task.verify:
        row["not_verified"] = "error in stage process"
    return row


def _chosen(
    plan: Plan, families: Mapping[str, str], results: Results | StoredResults, progress: Progress
) -> set[str]:
    """What is run of a sweep of parts: the smallest of each family, or one with each block."""
    if plan.verify == "blocks":
        return covering(_profiles(plan, families, results, progress), families)
    sizes = {
        name: row["parameters"] or 0
        for name, row in _rows(plan, families, results).items()
        if row.get("parameters") is not None
    }
    alone = {f for f, count in Counter(families.values()).items() if count == 1}
    sizes.update((name, 0) for name in families if families[name] in alone)
    missing = [name for name in families if name not in sizes]
    sizes.update(_asked(plan, parameters_of, "sizes", missing, progress))
    return smallest(sizes, families)


def _rows(plan: Plan, names: Iterable[str], results: Results | StoredResults) -> dict[str, Row]:
    """The rows that the file has already, by the architecture's name."""
    references = {name: _reference(plan, name) for name in names}
    return {
        name: results.rows[reference]
        for name, reference in references.items()
        if reference in results.rows
    }


def _profiles(
    plan: Plan, families: Mapping[str, str], results: Results | StoredResults, progress: Progress
) -> dict[str, Profile]:
    """Size and blocks of every architecture, also for rows of sweeps that did not note them."""
    rows = _rows(plan, families, results)
    known = {
        name: Profile(row["parameters"] or 0, frozenset(row["blocks"] or ()))
        for name, row in rows.items()
        if row.get("blocks") is not None
    }
    missing = [name for name in families if name not in known]
    for name, profile in _asked(plan, profile_of, "blocks", missing, progress):
        known[name] = profile
        if name in rows:
            results.add({**rows[name], "blocks": sorted(profile.blocks)})
    return known


def _asked(
    plan: Plan, ask: Callable[[str], T], what: str, names: Sequence[str], progress: Progress
) -> Iterator[tuple[str, T]]:
    """What the workers say of each name; nothing of those they fail at."""
    names_of = {_reference(plan, name): name for name in names}
    progress(what, 0, len(names))
    answers = run_all(ask, names_of, plan.jobs, plan.limits, _imports(plan))
    for number, (reference, result) in enumerate(answers, 1):
        progress(what, number, len(names))
        if not isinstance(result, Failure):
            yield names_of[reference], result
