"""``zooalign spec``: the permutation symmetries of an architecture."""

from typing import Any

import click

from zooalign.cli._options import DRY_RUN, MODEL, settings_options
from zooalign.cli._output import Output, escape, formatted, print_table, short, show_written
from zooalign.release.settings import SymmetrySettings

__all__ = ["command"]


@click.command("spec", short_help="Derive the permutation symmetries of an architecture.")
@click.argument("reference", type=MODEL, metavar="MODEL")
@settings_options(SymmetrySettings)
@click.option(
    "-o", "--output", metavar="FILE", help="Write the spec as JSON (format: docs/spec.md)."
)
@click.option("--graph", metavar="FILE", help="Write the dependency graph as GraphML.")
@DRY_RUN
@formatted
def command(
    reference: str,
    settings: SymmetrySettings,
    output: str | None,
    graph: str | None,
    dry_run: bool,
) -> Output:
    """Derive the groups of interchangeable units of MODEL from its computation graph.

    No weights are read. Axes touched by an unknown operator are frozen and listed.
    """
    from zooalign.pipelines.spec import spec_for
    from zooalign.symmetry.spec_file import to_json
    from zooalign.zoo.files import atomic_write

    report = spec_for(reference, settings)
    if output is not None and not dry_run:
        atomic_write(output, to_json(report.derived.spec).encode())
    if graph is not None and not dry_run:
        from zooalign.graph.dependency import dependency_graph, write_graph

        write_graph(dependency_graph(report.derived.traced), graph)

    def show(console: Any) -> None:
        spec = report.derived.spec
        console.print(f"[bold]{escape(spec.architecture)}[/bold]")
        console.print(f"{len(spec.groups)} groups, 10^{spec.log10_order:.2f} permutations")
        rows = [(escape(structure), str(n), str(places)) for structure, n, places in spec.summary()]
        print_table(console, ("structure", "groups", "places"), rows)
        console.print(f"{len(spec.frozen)} frozen axes, {len(spec.unused)} unused parameters")
        for name, count in spec.unknown_operators.items():
            console.print(f"[yellow]unknown operator[/yellow] {escape(name)} ({count} times)")
        for line in spec.contract.lines() if spec.contract is not None else ():
            console.print(escape(line))
        if spec.classes is not None:
            summary = [(name, str(count)) for name, count in spec.classes.summary().items()]
            print_table(console, ("class", "groups"), summary)
            console.print(f"classes: {escape(str(spec.classes.proof or 'not proved here'))}")
        console.print(escape(str(spec.proof or "not proved here: see zooalign verify")))
        console.print(f"hash {short(spec.hash)}, {report.seconds:.2f} s")
        for path in (output, graph):
            if path is not None:
                show_written(console, path, dry_run)

    return Output(report.result, show)
