"""What pages of reports show: small and full, without a model on disk."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.merging.curve import BarrierCurve, Scores
from zooalign.pipelines.connectivity_result import ConnectivityResult
from zooalign.release.curves import MeasuredCurve
from zooalign.release.results import merged_fields, plain
from zooalign.report.content import CheckPart, Content
from zooalign.report.operators import layer_graph
from zooalign.report.structure import structure_of
from zooalign.symmetry import derive_spec

# A name that would be markup, and end the script that holds it.
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


class Block(nn.Module):
    """A residual block with two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.back = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A step of the stream."""
        return x + self.back(self.bn(self.conv(x)).relu())


def network() -> nn.Module:
    """A stream of two blocks."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), Block(), Block(), nn.Flatten(), nn.Linear(6 * 6 * 6, 3)
    )


def curve(label: str = "weight matching", peak: float = 0.4) -> MeasuredCurve:
    """Of five points."""
    error = (0.1, 0.1 + peak / 2, 0.1 + peak, 0.1 + peak / 2, 0.1)
    loss = tuple(2 * value for value in error)
    scores = Scores(
        loss, error, tuple(1 - value for value in error), 50, ("cross-entropy", "accuracy")
    )
    points = BarrierCurve.of([0.0, 0.25, 0.5, 0.75, 1.0], scores)
    return MeasuredCurve(
        label=label,
        a="a",
        b="b",
        align="none" if peak > 0.3 else "weight",
        data="d.npz",
        **vars(points),
    )


def provenance(name: str = "org/model") -> dict[str, Any]:
    """The record of a merge of two sources."""
    file = {"name": "model.safetensors", "size": 1234567, "sha256": "0" * 64}
    source = {
        **{"role": "parent", "reference": name, "kind": "hub", "repo": name, "commit": "1" * 40},
        **{"license": "mit", "files": [file], "ancestors": []},
    }
    diagnosis = {"kind": "different", "verdict": "The networks differ; see `zooalign barrier`."}
    alignment = {
        **{"source": 1, "permutation": "zooalign/permutation-1.json", "moved_fraction": 0.97},
        **{"objective_before": 0.1, "objective_after": 0.8, "max_relative_error": 1e-7},
        **{"tolerance": 1e-4, "diagnosis": diagnosis, "details": {}},
    }
    score = {
        **{"loss": 0.2, "accuracy": 0.9, "count": 50, "error": 0.1},
        "measures": ["cross-entropy", "accuracy"],
    }
    return {
        **{"operation": "merge", "architecture": {"library": "timm", "name": "resnet"}},
        **{"sources": [source, source], "method": "weight", "seed": 0, "data": None},
        **{"spec_hash": "2" * 64, "log10_order": 9.0, "alignments": [alignment]},
        **{"weights": [0.5, 0.5], "statistics": "reset", "stale_statistics": False},
        **{"recomputed": ["0.weight"], "barrier": None, "score": score, "refit": None},
        **{"benefit": None, "versions": {"torch": "2"}, "warnings": ["a warning"]},
        **{"command": "zooalign merge a b -o out", "settings": {"alphas": 25}, "names": []},
    }


def gate(where: str = "model.safetensors", ok: bool = False) -> dict[str, Any]:
    """A report of two checks."""
    finding = {
        **{"id": "weights.finite", "category": "weights", "severity": "error", "where": where},
        **{"message": "has values that are not finite", "fix": "train again"},
        **{"file": None, "parameter": None},
    }
    return {
        **{"reference": "out", "commit": None, "ok": ok, "fail_on": "error"},
        **{"findings": [] if ok else [finding], "checks": ["weights.finite", "spec.hash"]},
        **{"skipped": ["parents.given"], "unasked": [], "disabled": [], "policy": None},
    }


def release(name: str = "org/model") -> Content:
    """All that a page of a release can show; ``name`` stands in every kind of text."""
    derived = derive_spec(network(), (torch.zeros(1, 1, 8, 8),), architecture=name)
    spec = derived.spec
    structure, _ = structure_of(spec, [spec.random(0)])
    if name != "org/model":
        groups = tuple(replace(group, id=f"{name}{group.id}") for group in structure.groups)
        parameters = tuple(replace(one, name=f"{name}.{one.name}") for one in structure.parameters)
        structure = replace(structure, groups=groups, parameters=parameters)
    graph, _ = layer_graph(derived, structure)
    if name != "org/model":
        graph = replace(
            graph, nodes=tuple(replace(n, layer=f"{name}.{n.layer}") for n in graph.nodes)
        )
    return Content(
        kind="release",
        title=name,
        reference=name,
        version="0.1.0",
        gate=gate(name),
        checks=(CheckPart("weights.finite", "all values are finite"),),
        provenance=provenance(name),
        structure=structure,
        graph=graph,
        curves=(curve(name, 0.02).to_dict(), curve("as they are").to_dict()),
        problems=(f"problem of {name}",),
        left_out=(f"part of {name}",),
    )


def connectivity(networks: int = 3, reference: str = "net") -> ConnectivityResult:
    """A report on networks with two checkpoints each; barriers grow with the pair."""
    steps = 3
    weights = [
        (a / steps, b / steps, (steps - a - b) / steps)
        for a in range(steps, -1, -1)
        for b in range(steps - a, -1, -1)
    ]
    values = [3 * min(point) for point in weights]
    pairs, count = [], 0
    for a in range(networks):
        for b in range(a + 1, networks):
            for how in ("as_is", "universe"):
                count += 1
                points = curve(peak=0.4 if how == "as_is" else 1e-3 * count).to_dict()
                fields = {"a": a, "b": b, "how": how, "via": None}
                pairs.append({**points, **fields, "midpoint": {"loss": 1.0, "accuracy": 0.5}})
    spread = {"mean": 0.2, "std": 0.0, "min": 0.1, "max": 0.3, "count": len(pairs)}
    spreads = {q: {"over_line": spread, "over_mean": spread} for q in ("loss", "error")}
    score = {
        **{"loss": 0.2, "accuracy": 0.9, "error": 0.1, "count": 50},
        "measures": ("cross-entropy", "accuracy"),
    }
    barrier = {q: {"over_line": 0.5, "over_mean": 0.5} for q in ("loss", "error")}
    return merged_fields(
        ConnectivityResult,
        {
            "networks": [
                {**score, "reference": f"{reference}{n}", "checkpoints": ["step1", "step2"]}
                for n in range(networks)
            ],
            **{"method": "activation", "through": "universe", "data": "d.npz"},
            "objective": {"before": 0.0, "after": 1.0, "reference": 0},
            **{"summary": {"as_is": spreads, "universe": spreads}, "pairs": pairs},
            "cycles": [{"networks": (0, 1, 2), "pairwise_moved": 0.4, "universe_moved": 0.0}],
            "simplex": {
                **{"version": 1, "weights": weights, "statistics_reset": True, **score},
                **{"loss": values, "error": values, "accuracy": [1 - v for v in values]},
                "barrier": barrier,
            },
            **{"merged": score, "statistics_reset": True, "trajectories": None},
            "trajectory_summary": {"own": [spreads, spreads], "at_end": [spreads, spreads]},
            **{"output": None, "dry_run": False, "plots": ()},
            **{"warnings": (), "seconds": 1.0},
        },
    )


def connected(reference: str = "net") -> Content:
    """A page of connectivity."""
    return Content(
        kind="connectivity",
        title="Connectivity",
        reference="connectivity.json",
        version="0.1.0",
        connectivity=plain(connectivity(reference=reference)),
    )
