"""Write a networkx graph as GraphML."""

import os
import secrets
from pathlib import Path

import networkx as nx

from zooalign.errors import ZooalignError

__all__ = ["write_graph"]


def write_graph(graph: nx.MultiDiGraph, path: Path | str) -> None:
    """Write the graph as GraphML (for Gephi, yEd, networkx, igraph), whole or not at all.

    Raises
    ------
    ZooalignError
        If the name does not end in ``.graphml`` or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".graphml":
        raise ZooalignError(
            f"{path}: a graph is written as GraphML; name a file that ends in .graphml"
        )
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        with aside.open("xb") as file:
            nx.write_graphml(graph, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise ZooalignError(
            f"{path}: the graph cannot be written: {error.strerror or error}"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
