"""Classes of groups: closed forms on paper, elements on the module itself, and what is refuted.

A module is compared with itself after an element was applied to its state dict. Nothing that
derives or proves classes takes part in that.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log10
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.kinds import SYMMETRIES, Symmetries
from zooalign.symmetry import PermutationSpec, SpecClasses, derive_spec, extract_spec, verify
from zooalign.symmetry.classes.derive import Classes, derive_classes
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.classes.proof import prove_classes
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.explain import explain
from zooalign.symmetry.spec_file import from_json, to_json
from zooalign.symmetry.trial import DrawnState, Trial

WIDTH, HIDDEN = 4, 6
INPUTS = (torch.zeros(2, 3, WIDTH),)
WRONG = 1e-4  # by which a wrong element changes an output at least, relative to it


class Net(nn.Module):
    """Parameters by name, and a function of them and the input."""

    def __init__(
        self, compute: Callable[["Net", Tensor], Tensor], **shapes: tuple[int, ...]
    ) -> None:
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def _two_layers(middle: Callable[[Tensor], Tensor]) -> Net:
    return Net(
        lambda net, x: F.linear(middle(F.linear(x, net.up, net.bias)), net.down),
        up=(HIDDEN, WIDTH),
        bias=(HIDDEN,),
        down=(2, HIDDEN),
    )


def _stream(norm: Callable[[Net, Tensor, str], Tensor], tied: bool = False) -> Net:
    """Tokens in a stream of HIDDEN, one GELU block before whose layers there is a norm."""

    def compute(net: Net, x: Tensor) -> Tensor:
        stream = F.linear(x, net.table)
        inner = F.gelu(F.linear(norm(net, stream, "one"), net.up))
        last = norm(net, stream + F.linear(inner, net.down), "two")
        return last @ net.table if tied else F.linear(last, net.head)

    shapes = {"table": (HIDDEN, WIDTH), "up": (5, HIDDEN), "down": (HIDDEN, 5)}
    return Net(compute, **shapes, one=(HIDDEN,), two=(HIDDEN,), head=(2, HIDDEN))


def _rms(net: Net, x: Tensor, name: str) -> Tensor:
    return F.rms_norm(x, (HIDDEN,), getattr(net, name), 1e-5)


def _rms_by_hand(net: Net, x: Tensor, name: str) -> Tensor:
    return getattr(net, name) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def _layer_norm(net: Net, x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, (HIDDEN,), getattr(net, name))


def _layer_norm_by_hand(net: Net, x: Tensor, name: str) -> Tensor:
    apart = x - x.mean(-1, keepdim=True)
    return getattr(net, name) * apart / (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def _l2(net: Net, x: Tensor, name: str) -> Tensor:
    return F.normalize(x, dim=-1)


def _attention(net: Net, x: Tensor) -> Tensor:
    """Two heads of three dims, fused."""
    q, k, v = F.linear(x, net.qkv).reshape(2, 3, 3, 2, 3).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(q, k, v)
    return F.linear(heads.transpose(1, 2).flatten(2), net.out)


def _tied_autoencoder(net: Net, x: Tensor) -> Tensor:
    return F.linear(x, net.up) @ net.up


def _glu(net: Net, x: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, net.gate)) * F.linear(x, net.up), net.down)


def _lora(net: Net, x: Tensor) -> Tensor:
    hidden = F.linear(x, net.up) + 2 * F.linear(F.linear(x, net.a), net.b)
    return F.linear(hidden.relu(), net.down)


_UP, _DOWN = (HIDDEN, WIDTH), (2, HIDDEN)
STREAM = {"table:0": ("orthogonal", 2, 3)}

# Of each network the class of its groups, with the number of independent scales and signs of one
# unit (of linear maps: of what is left unit by unit, before any weight is made one).
NETWORKS: Mapping[str, tuple[Callable[[], Net], Mapping[str, tuple[str, int, int]]]] = {
    "linear": (lambda: _two_layers(lambda h: h), {"up:0": ("invertible", 1, 1)}),
    "relu": (lambda: _two_layers(F.relu), {"up:0": ("scaled permutations", 1, 0)}),
    "relu in place": (lambda: _two_layers(F.relu_), {"up:0": ("scaled permutations", 1, 0)}),
    "leaky": (lambda: _two_layers(F.leaky_relu), {"up:0": ("scaled permutations", 1, 0)}),
    "tanh": (lambda: _two_layers(torch.tanh), {"up:0": ("signed permutations", 0, 1)}),
    "sine": (lambda: _two_layers(torch.sin), {"up:0": ("signed permutations", 0, 1)}),
    # The sign is lost in it: what reads the units keeps its own, what writes them may change.
    "absolute": (lambda: _two_layers(torch.abs), {"up:0": ("monomial", 1, 1)}),
    "cosine": (lambda: _two_layers(torch.cos), {"up:0": ("signed permutations", 0, 1)}),
    "square": (lambda: _two_layers(torch.square), {"up:0": ("monomial", 1, 1)}),
    "cube": (lambda: _two_layers(lambda h: h**3), {"up:0": ("monomial", 1, 1)}),
    "gelu": (lambda: _two_layers(F.gelu), {"up:0": ("permutations", 0, 0)}),
    "softmax": (lambda: _two_layers(lambda h: h.softmax(-1)), {"up:0": ("permutations", 0, 0)}),
    "shifted": (lambda: _two_layers(lambda h: h + 1), {"up:0": ("orthogonal fixing ones", 0, 0)}),
    "centred": (
        lambda: _two_layers(lambda h: h - h.mean(-1, keepdim=True)),
        {"up:0": ("orthogonal fixing ones", 0, 0)},
    ),
    "largest": (
        lambda: _two_layers(lambda h: h * h.amax(-1, keepdim=True)),
        {"up:0": ("permutations", 0, 0)},
    ),
    "length": (
        lambda: _two_layers(lambda h: h / h.norm(dim=-1, keepdim=True)),
        {"up:0": ("orthogonal", 0, 1)},
    ),
    "normalised": (
        lambda: _two_layers(lambda h: F.normalize(h, dim=-1)),
        {"up:0": ("orthogonal", 0, 1)},
    ),
    "tied autoencoder": (lambda: Net(_tied_autoencoder, up=_UP), {"up:0": ("orthogonal", 0, 1)}),
    "GLU": (lambda: Net(_glu, gate=_UP, up=_UP, down=_DOWN), {"gate:0": ("monomial", 1, 1)}),
    "LoRA": (
        lambda: Net(_lora, up=_UP, a=(3, WIDTH), b=(HIDDEN, 3), down=_DOWN),
        {"up:0": ("scaled permutations", 1, 0), "a:0": ("invertible", 1, 1)},
    ),
    # A norm's weight and what reads it may be scaled against each other: one scale for each norm.
    "rms": (lambda: _stream(_rms), STREAM),
    "rms by hand": (lambda: _stream(_rms_by_hand), STREAM),
    "layer norm": (lambda: _stream(_layer_norm), {"table:0": ("orthogonal fixing ones", 2, 2)}),
    "layer norm by hand": (
        lambda: _stream(_layer_norm_by_hand),
        {"table:0": ("orthogonal fixing ones", 2, 2)},
    ),
    "length without weights": (lambda: _stream(_l2), {"table:0": ("orthogonal", 0, 1)}),
    # The last weight cannot be made one: the table that reads it also writes the stream.
    "rms, tied": (lambda: _stream(_rms, tied=True), {"table:0": ("monomial", 1, 2)}),
    "layer norm, tied": (lambda: _stream(_layer_norm, tied=True), {"table:0": ("monomial", 1, 1)}),
    # Queries against keys, values against outputs. Of a head the three stand in one block, which
    # has one exponent: more would be among the maps of its dims.
    "attention": (
        lambda: Net(_attention, qkv=(18, WIDTH), out=(2, 6)),
        {
            "qkv:0": ("signed permutations", 0, 1),
            "qkv:0#2": ("invertible", 1, 1),
            "qkv:0#3": ("invertible", 1, 1),
        },
    ),
}


def _derived(name: str) -> tuple[nn.Module, Derived, Classes]:
    torch.manual_seed(0)
    module = NETWORKS[name][0]()
    derived = derive_spec(module, INPUTS)
    return module, derived, derive_classes(derived)


def _change(module: nn.Module, derived: Derived, groups: Mapping[str, GroupClass]) -> float:
    """By how much a random element of each class changes the module, at most, of three."""
    classes = SpecClasses(derived.spec, groups)
    changes = []
    for seed in range(3):
        trial = Trial(module, INPUTS, seed)
        state = classes.absorbed(trial.state)
        assert trial.error(state) < 1e-12
        changes.append(trial.error(classes.apply(classes.random(seed), state)))
    return max(changes)


def _verdict(module: nn.Module, derived: Derived, classes: Classes) -> str:
    inputs = (torch.randn(INPUTS[0].shape, dtype=torch.float64),)
    return prove_classes(derived, classes, DrawnState(module, 0), inputs).verdict


@pytest.mark.parametrize("name", NETWORKS)
def test_closed_form(name: str) -> None:
    module, derived, classes = _derived(name)
    found = {
        group: (of.name, len(of.scales), len(of.signs)) for group, of in classes.groups.items()
    }
    expected = NETWORKS[name][1]
    assert {group: found[group] for group in expected} == expected
    for symmetries in SYMMETRIES[1:]:
        some = classes.within(symmetries)
        assert _change(module, derived, some.groups) < 1e-10
        assert _verdict(module, derived, some) == "proved"
    assert all(of.lowered or of.name == "invertible" for of in classes.groups.values())


@pytest.mark.parametrize(
    ("name", "group", "dimension", "parts"),
    [
        ("linear", "up:0", 36, 2),
        ("relu", "up:0", 6, 720),
        ("tanh", "up:0", 0, 720 * 2**6),
        ("GLU", "gate:0", 6, 720 * 2**6),
        ("gelu", "up:0", 0, 720),
        ("tied autoencoder", "up:0", 15, 2),
        ("centred", "up:0", 10, 2),
        ("attention", "qkv:0#2", 2 * 9, 4),
    ],
)
def test_dimension_and_number_of_parts(name: str, group: str, dimension: int, parts: int) -> None:
    _, derived, classes = _derived(name)
    some = SpecClasses(derived.spec, classes.groups)
    assert some.dimension(group) == dimension
    assert some.log10_order(group) == pytest.approx(log10(parts))


# ---------------------------------------------------------------------- what is refuted


def _tables(of: GroupClass) -> list[str]:
    return [name for name in ("linear", "scales", "signs") if getattr(of, name)]


@pytest.mark.parametrize("name", ["relu", "tanh", "GLU", "rms", "attention", "LoRA"])
def test_an_exponent_dropped_or_flipped_is_seen_by_the_module(name: str) -> None:
    module, derived, classes = _derived(name)
    tried = 0
    for symmetries in SYMMETRIES[1:]:
        for group, of in classes.within(symmetries).groups.items():
            for field in _tables(of):
                for wrong in _one_wrong(of, field):
                    others = classes.within("permutations").groups
                    tried += 1
                    assert _change(module, derived, {**others, group: wrong}) > WRONG, wrong
    assert tried > 3


def _one_wrong(of: GroupClass, field: str) -> list[GroupClass]:
    """The class with one exponent of a parameter dropped, or flipped, in all ways."""
    table = of.linear if field == "linear" else getattr(of, field)[0]
    wrong = []
    for member, blocks in enumerate(table):
        for block, exponent in enumerate(blocks):
            for other in {0, -exponent} - {exponent} if field == "scales" else {0} - {exponent}:
                row = (*blocks[:block], other, *blocks[block + 1 :])
                changed = (*table[:member], row, *table[member + 1 :])
                value = changed if field == "linear" else (changed,)
                alone = {"scales": (), "signs": (), "linear": None, field: value}
                wrong.append(msgspec.structs.replace(of, **alone))
    return wrong


@pytest.mark.parametrize("name", ["relu", "tanh", "GLU", "rms", "attention"])
def test_a_wrong_exponent_is_refuted_at_an_operator(name: str) -> None:
    module, derived, classes = _derived(name)
    for group, exponents in classes.places.items():
        if not exponents.scales:
            continue
        place = min(exponents.scales[0])
        dropped = {
            kind: tuple(
                {n: x for n, x in vector.items() if n != place}
                for vector in getattr(exponents, kind)
            )
            for kind in ("scales", "signs")
        }
        wrong = {**classes.places, group: replace(exponents, linear=None, **dropped)}
        some = replace(classes.within("monomial"), places=wrong)
        assert _verdict(module, derived, some) == "refuted"


def _larger(name: str) -> GroupClass:
    """The class of the units of a network, one class up."""
    of = _derived(name)[2].groups[next(iter(NETWORKS[name][1]))]
    ones = tuple(tuple(1 for _ in row) for row in _derived("linear")[2].groups["up:0"].scales[0])
    both = _derived("linear")[2].groups["up:0"]
    if of.name == "permutations":
        return msgspec.structs.replace(of, name="signed permutations", signs=both.signs)
    if of.name == "signed permutations":
        return msgspec.structs.replace(of, name="scaled permutations", scales=both.scales)
    if of.name == "scaled permutations":
        return msgspec.structs.replace(of, name="monomial", signs=both.signs)
    if of.name == "orthogonal fixing ones":
        return msgspec.structs.replace(of, name="orthogonal")
    if of.name == "orthogonal":
        return msgspec.structs.replace(of, name="invertible", linear=both.linear)
    return msgspec.structs.replace(of, name="orthogonal", linear=ones, scales=(), signs=())


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "leaky",
        "tanh",
        "sine",
        "gelu",
        "softmax",
        "shifted",
        "centred",
        "normalised",
        "absolute",
        "square",
        "cube",
    ],
)
def test_one_class_up_changes_the_module(name: str) -> None:
    module, derived, _ = _derived(name)
    assert _change(module, derived, {"up:0": _larger(name)}) > WRONG


@pytest.mark.parametrize(
    ("name", "larger"),
    [
        ("rms, tied", "orthogonal"),
        ("rms", "invertible"),
        ("layer norm", "orthogonal"),
        ("layer norm, tied", "signed permutations"),
    ],
)
def test_one_class_up_changes_a_stream(name: str, larger: str) -> None:
    module, derived, classes = _derived(name)
    of = classes.groups["table:0"]
    readers = {("up", 1), ("head", 1)}
    members = derived.spec.by_id["table:0"].members
    sides = tuple((-1 if (m.parameter, m.axis) in readers else 1,) for m in members)
    if larger == "signed permutations":
        wrong = msgspec.structs.replace(of, name=larger, linear=None, scales=(), signs=(sides,))
    else:
        linear = sides if larger == "invertible" else tuple((1,) for _ in members)
        absorbed = {a.parameter for a in of.absorbed}
        linear = tuple(
            (0,) if m.parameter in absorbed else row for m, row in zip(members, linear, strict=True)
        )
        wrong = msgspec.structs.replace(of, name=larger, linear=linear)
    assert _change(module, derived, {**classes.groups, "table:0": wrong}) > WRONG


# ---------------------------------------------------------------------- absorption


def test_a_weight_is_made_one_and_what_reads_it_takes_it() -> None:
    module, derived, classes = _derived("rms")
    absorbed = SpecClasses(derived.spec, classes.groups)
    state = Trial(module, INPUTS, 0).state
    result = absorbed.absorbed(state)
    assert bool((result["one"] == 1).all()) and bool((result["two"] == 1).all())
    torch.testing.assert_close(result["up"], state["up"] * state["one"])
    torch.testing.assert_close(result["head"], state["head"] * state["two"])
    assert result["table"] is state["table"] and result["down"] is state["down"]


def test_why_a_weight_cannot_be_one_names_what_reads_it_too() -> None:
    (lowered,) = _derived("rms, tied")[2].groups["table:0"].lowered
    assert lowered.kind == "norm weight"
    assert "'two' cannot be moved into what reads it, through 'table'" in lowered.detail
    assert "rms_norm" in lowered.operator


def test_a_weight_of_zero_beside_a_bias_is_refused() -> None:
    def norm(net: Net, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (HIDDEN,), getattr(net, name), net.shift)

    module = _stream(norm)
    module.shift = nn.Parameter(torch.randn(HIDDEN))
    derived = derive_spec(module, INPUTS)
    # Two norms share the bias: it cannot be divided by the weights of both.
    assert derive_classes(derived).groups["table:0"].name == "monomial"
    module = _biased_norm()
    derived = derive_spec(module, INPUTS)
    classes = SpecClasses(derived.spec, derive_classes(derived).groups)
    state = Trial(module, INPUTS, 0).state
    state["one"][2] = 0
    with pytest.raises(SpecError, match=r"'one' is zero for some units"):
        classes.absorbed(state)


def _biased_norm() -> Net:
    def compute(net: Net, x: Tensor) -> Tensor:
        stream = F.linear(x, net.table)
        return F.linear(F.layer_norm(stream, (HIDDEN,), net.one, net.shift), net.head)

    return Net(compute, table=_UP, one=(HIDDEN,), shift=(HIDDEN,), head=_DOWN)


def test_a_weight_that_several_read_is_moved_into_all() -> None:
    """With its bias, which is divided."""
    module = _biased_norm()
    derived = derive_spec(module, INPUTS)
    classes = derive_classes(derived)
    assert classes.groups["table:0"].name == "orthogonal fixing ones"
    assert _change(module, derived, classes.groups) < 1e-10


# ---------------------------------------------------------------------- what rules say


def test_a_rule_without_roles_grants_permutations_only() -> None:
    """Without its roles a linear layer is any operator."""
    module = _two_layers(lambda h: h)
    derived = derive_spec(module, INPUTS)
    said = {n: replace(s, statements=()) for n, s in derived.traced.said.items()}
    silent = replace(derived, traced=replace(derived.traced, said=said))
    of = derive_classes(silent).groups["up:0"]
    assert of.name == "permutations" and of.lowered


def test_powers_are_whole_numbers_of_what_they_are_powers_of() -> None:
    of = _derived("cube")[2].groups["up:0"]
    assert of.scales == (((1,), (1,), (-3,)),)
    assert of.signs == (((1,), (1,), (1,)),)


def test_other_steps_at_other_sizes_are_heard_too() -> None:
    """Of one row the network is linear; of several it is not."""

    def compute(net: Net, x: Tensor) -> Tensor:
        hidden = F.linear(x, net.up)
        return F.linear(hidden if x.shape[0] == 1 else hidden.tanh(), net.down)

    module = Net(compute, up=_UP, down=_DOWN)
    derived = derive_spec(module, (torch.zeros(1, WIDTH),))
    assert derived.other_sizes
    assert derive_classes(derived).groups["up:0"].name == "signed permutations"


# ---------------------------------------------------------------------- specs with classes


def _spec(name: str, symmetries: Symmetries = "linear") -> tuple[nn.Module, PermutationSpec]:
    module, _, _ = _derived(name)
    return module, extract_spec(module, INPUTS, symmetries=symmetries)


def test_a_spec_with_classes_is_of_version_2_and_is_read_as_it_was_written() -> None:
    _, spec = _spec("rms")
    assert spec.classes is not None and spec.classes.summary() == {
        "permutations": 1,
        "orthogonal": 1,
    }
    assert spec.classes.proof is not None and spec.classes.proof.verdict == "proved"
    text = to_json(spec)
    assert json.loads(text)["version"] == 2
    assert from_json(text) == spec
    plain = _spec("rms", "permutations")[1]
    assert plain.classes is None and json.loads(to_json(plain))["version"] == 1
    assert plain.hash == spec.hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class": "invertible", "linear": None}, "does not fit its exponents"),
        ({"scales": [[[1]]]}, "not one exponent for each block"),
        ({"group": "none"}, "not those of its groups"),
        ({"class": "any"}, "malformed"),
    ],
)
def test_classes_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    _, spec = _spec("tanh")
    body = json.loads(to_json(spec))
    body["classes"]["groups"][0] |= change
    with pytest.raises(SpecError, match=words):
        from_json(json.dumps(body))


def test_verify_proves_classes_and_refutes_wrong_ones() -> None:
    module, spec = _spec("tanh")
    verification = verify(module, spec, INPUTS)
    assert verification.ok and verification.classes == {"signed permutations": 1}
    assert spec.classes is not None
    scaled = msgspec.structs.replace(
        spec.classes.groups[0], name="monomial", scales=(((1,), (1,), (-1,)),)
    )
    wrong = msgspec.structs.replace(spec.classes, groups=(scaled,))
    refuted = verify(module, replace(spec, classes=wrong), INPUTS)
    assert refuted.verdict == "refuted" and "'monomial'" in refuted.why


def test_explain_says_what_lowered_a_class() -> None:
    module, _, _ = _derived("tanh")
    text = explain(derive_spec(module, INPUTS, symmetries="linear"), "up", 0).text()
    assert "class: signed permutations, lowered by" in text
    assert "nonlinear (odd), at aten.tanh.default 'tanh'" in text
    assert "class" not in explain(derive_spec(module, INPUTS), "up", 0).text()
