"""A network mapped by a random element of its classes is brought back, to rounding."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import timm
import torch
from normed_stream import Normed
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.kinds import SYMMETRIES, Symmetries
from zooalign.matching import Match, match
from zooalign.matching.procrustes import balance, nearest_rotation
from zooalign.symmetry import PermutationSpec, SpecClasses, extract_spec
from zooalign.symmetry.trial import random_state

BEYOND = SYMMETRIES[1:]


class Planted:
    """A network, a member of its classes that was applied to it, and the way back."""

    def __init__(self, module: nn.Module, shape: Sequence[int], symmetries: Symmetries) -> None:
        torch.manual_seed(0)
        self.module, self.symmetries = module.eval(), symmetries
        self.data = [torch.randn(16, *shape) for _ in range(5)]
        self.spec = extract_spec(
            module, (torch.zeros(2, *shape),), symmetries=symmetries, prove=False
        )
        self.classes = SpecClasses.of(self.spec)
        self.target, other = (_single(random_state(module, seed)) for seed in (1, 2))
        drawn = replace(self.classes.random(3), permutation=self.spec.random(3))
        # Norm weights of another network too: those of the source are not those of the target.
        element = self.classes.between(drawn, self.target, other)
        self.source = self.classes.apply(element, self.target)

    def match(self, method: str, data: list[Tensor] | None) -> Match:
        return match(
            self.spec,
            self.target,
            self.source,
            method=method,
            data=data,
            module=self.module,
            symmetries=self.symmetries,
        )

    def error(self, found: Match) -> float:
        assert found.element is not None
        back = self.classes.apply(found.element, self.source)
        return max(float((back[n] - t).abs().max()) for n, t in self.target.items())


def _single(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.float() if t.is_floating_point() else t for n, t in state.items()}


@pytest.mark.parametrize("symmetries", BEYOND)
def test_by_activations(symmetries: Symmetries) -> None:
    planted = Planted(Normed(), (3, 5), symmetries)
    found = planted.match("activation", planted.data)
    assert planted.error(found) < 1e-5
    assert found.details["taken"] == "classes"
    # Nothing but signs and places: bit for bit.
    assert bool(found.details["exact"]) is (symmetries == "signed")


def test_by_weights_alone() -> None:
    planted = Planted(Normed(), (3, 5), "signed")
    assert planted.error(planted.match("weight", None)) == 0


IMAGE = (3, 32, 32)
LARGER: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=48, depth=2, num_heads=3, num_classes=5
    ),
    "resnet": lambda: timm.create_model(
        "resnet18", layers=(1, 1, 1, 1), channels=(8, 12, 16, 20), num_classes=5
    ),
    "convnext": lambda: timm.create_model(
        "convnext_atto", depths=(1, 1, 1, 1), dims=(12, 16, 20, 24), num_classes=5
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("symmetries", BEYOND)
@pytest.mark.parametrize("name", LARGER)
def test_of_architectures(name: str, symmetries: Symmetries) -> None:
    planted = Planted(LARGER[name](), IMAGE, symmetries)
    assert planted.error(planted.match("activation", planted.data)) < 1e-5


# ---------------------------------------------------------------------- the guard


def _relu() -> tuple[nn.Module, PermutationSpec]:
    module = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    return module, extract_spec(module, (torch.zeros(2, 6),), symmetries="linear")


def test_both_losses_are_said_and_the_lower_one_is_taken() -> None:
    module, spec = _relu()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(64, 6, generator=generator) for _ in range(6)]
    data = [(x, x[:, :3].argmax(1)) for x in batches]
    classes = SpecClasses.of(spec, "monomial")
    taken = set()
    for seed in range(4):
        a, b = (_single(random_state(module, 10 * seed + n)) for n in (1, 2))
        found = match(
            spec, a, b, method="activation", data=data, module=module, symmetries="monomial"
        )
        losses = [float(found.details[f"loss_by_{n}"]) for n in ("permutations", "classes")]
        taken.add(found.details["taken"])
        assert found.element is not None
        scaled = found.element.maps["0.weight:0"].scales
        if found.details["taken"] == "permutations":
            assert losses[0] < losses[1]
            assert (scaled == 1).all()
        else:
            assert losses[1] <= losses[0]
            assert not (scaled == 1).all()
        moved = classes.apply(found.element, b)
        x = batches[0]
        before, after = (torch.func.functional_call(module, s, x) for s in (b, moved))
        assert torch.allclose(before, after, atol=1e-5)
    assert taken == {"permutations", "classes"}


def test_a_spec_that_does_not_go_so_far_is_refused() -> None:
    module, _ = _relu()
    spec = extract_spec(module, (torch.zeros(2, 6),), symmetries="signed")
    state = module.state_dict()
    with pytest.raises(SpecError, match=r"known of signed only, not of linear.*--symmetries"):
        match(spec, state, state, method="weight", symmetries="linear")


def test_without_more_than_permutations_nothing_is_added() -> None:
    module, spec = _relu()
    a, b = (_single(random_state(module, n)) for n in (1, 2))
    found = match(spec, a, b, method="weight")
    assert found.element is None
    assert "taken" not in found.details


# ---------------------------------------------------------------------- closed forms


def test_a_rotation_that_keeps_ones_is_found() -> None:
    torch.manual_seed(0)
    units = torch.randn(6, 40, dtype=torch.float64)
    ones = torch.full((6, 1), 6**-0.5, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, torch.randn(6, 5).double()], 1)).Q[:, 1:]
    inner = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    turn = ones @ ones.T + basis @ inner @ basis.T
    cross = turn @ units @ units.T
    fixing, gain = nearest_rotation(cross, fixing_ones=True)
    assert torch.allclose(fixing, turn)
    assert gain > 0
    # Of noise it keeps them as well.
    noise, _ = nearest_rotation(torch.randn(6, 6, dtype=torch.float64), fixing_ones=True)
    assert torch.allclose(noise.sum(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(noise @ noise.T, torch.eye(6, dtype=torch.float64))


def test_balanced_networks_differ_by_a_rotation() -> None:
    torch.manual_seed(1)
    written, read = (torch.randn(4, 30, dtype=torch.float64) for _ in range(2))
    both = balance(written @ written.T, read @ read.T)
    inverse = torch.linalg.inv(both)
    assert torch.allclose(both @ written @ written.T @ both, inverse @ read @ read.T @ inverse)
    other = torch.randn(4, 4, dtype=torch.float64)
    turned = torch.linalg.inv(other).T @ read
    moved = balance(other @ written @ written.T @ other.T, turned @ turned.T)
    rotation = moved @ other @ inverse
    assert torch.allclose(rotation @ rotation.T, torch.eye(4, dtype=torch.float64))
