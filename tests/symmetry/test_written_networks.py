"""Networks written line by line: their grammar, what makes them smaller, and the check of a spec.

The check moves neighbouring units on the module itself. Nothing that derives or verifies specs
takes part in it.
"""

import pytest
from sample_models.generators import WRONG, generators, worst_generator
from sample_models.written_grammar import KINDS, written_network
from sample_models.written_networks import Line, WrittenNetwork, smallest

from zooalign.symmetry import Block, Group, Member, PermutationSpec, extract_spec

# Two layers, beside them a sum over neighbours.
NETWORK = WrittenNetwork(
    width=(3, 5),
    parameters={"p0": (4, 5), "p1": (2, 4), "p2": (4,), "p3": (3, 4)},
    lines=(
        Line("v0", "v0 = F.linear(x, p0, p2)", (3, 4), "linear"),
        Line("v1", "v1 = v0.tanh()", (3, 4), "activation"),
        Line("v2", "v2 = v1 @ p1.mT", (3, 2), "matmul"),
        Line("v3", "v3 = p3.cumsum(0)", (3, 4), "running"),
        Line("v4", "v4 = p3 + v3", (3, 4), "combine"),
    ),
    terms=("(v2 * p1.sum(1)).sum()", "v4.tanh().sum()"),
)


def _places(*places: tuple[str, int], size: int) -> Group:
    members = tuple(Member(name, axis, (axis,), (Block(0, size, 0, 1),)) for name, axis in places)
    return Group(f"{places[0][0]}:{places[0][1]}", size, members)


def test_a_right_spec_changes_nothing_by_any_generator() -> None:
    spec = extract_spec(NETWORK.module(), NETWORK.inputs())
    assert {group.size for group in spec.groups} >= {4}
    assert worst_generator(NETWORK.module(), spec, NETWORK.inputs())[0] < WRONG / 1e3


def test_a_wrong_group_is_told_by_its_generator() -> None:
    right = extract_spec(NETWORK.module(), NETWORK.inputs())
    rows = _places(("p3", 0), size=3)
    wrong = PermutationSpec(shapes=right.shapes, groups=(*right.groups, rows))
    change, generator = worst_generator(NETWORK.module(), wrong, NETWORK.inputs())
    assert change > WRONG
    assert generator.startswith("p3:0, units ")


def test_every_unit_of_every_context_is_moved() -> None:
    spec = extract_spec(NETWORK.module(), NETWORK.inputs())
    expected = sum(group.copies * (group.size - 1) for group in spec.groups)
    moved = list(generators(spec))
    assert len({name for name, _ in moved}) == len(moved) == expected
    for _, permutation in moved:
        spec.check(permutation)
        changed = sum(
            int((index != still).sum())
            for index, still in zip(
                permutation.indices.values(), spec.identity().indices.values(), strict=True
            )
        )
        assert changed == 2
    assert len(list(generators(spec, most=1))) == len(spec.groups)


def test_a_network_is_made_as_small_as_what_fails() -> None:
    def fails(network: WrittenNetwork) -> bool:
        return "cumsum" in network.source() and "p3 +" in network.source()

    small = smallest(NETWORK, fails)
    assert [line.name for line in small.lines] == ["v3", "v4"]
    assert set(small.parameters) == {"p3"}
    assert small.terms == ("v4.tanh().sum()",)


def test_a_line_may_become_a_parameter() -> None:
    sources = [network.source() for network in NETWORK.smaller()]
    assert any("v4 = p3 + p4" in source and "cumsum" not in source for source in sources)
    assert any("v2 = v0 @ p1.mT" in source for source in sources)  # without the activation


def test_a_seed_gives_one_network_that_runs() -> None:
    for seed in range(40):
        network = written_network(seed)
        assert network == written_network(seed)
        module = network.module().double()
        result = module(*(x.double() for x in network.inputs()))
        assert result.shape == (len(network.terms) + 1,)
        assert network.pruned() == network
    assert written_network(0) != written_network(1)


def test_the_grammar_writes_lines_of_every_kind() -> None:
    networks = [written_network(seed) for seed in range(1500)]
    assert {line.kind for network in networks for line in network.lines} == set(KINDS)
    lines = [line for network in networks for line in network.lines]
    residual = sum(f"{line.name} = {line.reads[0]} + " in line.code for line in lines if line.reads)
    assert residual > len(lines) / 20
    parameters = [p for network in networks for p in network.parameters]
    uses = [n for network in networks for line in network.lines for n in line.reads if n[0] == "p"]
    assert len(uses) > len(parameters)  # in several roles


@pytest.mark.parametrize(
    "seeds", [range(30000, 30010), pytest.param(range(30010, 30035), marks=pytest.mark.slow)]
)
def test_no_written_network_gets_a_group_that_is_too_large(seeds: range) -> None:
    """Thousands of seeds: ``docs/benchmarks/random_networks.py --grammar written``."""
    for seed in seeds:
        network = written_network(seed)
        spec = extract_spec(network.module(), network.inputs())
        change, generator = worst_generator(network.module(), spec, network.inputs(), most=12)
        assert change < WRONG, f"seed {seed}: {generator}\n{network.source()}"
