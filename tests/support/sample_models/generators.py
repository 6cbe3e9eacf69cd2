"""What a spec claims, checked on the module itself: neighbouring units change places one by one.

Nothing of the package but the spec and its ``apply`` takes part: no trace, no ``verify``.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

import torch
from torch import Tensor, nn

from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import Group

__all__ = ["WRONG", "generators", "worst_generator"]

#: A relative change above this is no rounding.
WRONG = 1e-6

_DRAWS = 2


def generators(spec: PermutationSpec, most: int | None = None) -> Iterator[tuple[str, Permutation]]:
    """Exchanges of two neighbouring units in one context, all of them or ``most`` of each group."""
    for group in spec.groups:
        places = list(product(*map(range, group.contexts), range(group.size - 1)))
        if most is not None and len(places) > most:
            places = Random(group.id).sample(places, most)
        for *context, unit in places:
            indices = {name: index.copy() for name, index in spec.identity().indices.items()}
            moved = indices[group.id][tuple(context)]
            moved[unit], moved[unit + 1] = unit + 1, unit
            yield _called(group, context, unit), Permutation(spec.hash, indices)


def _called(group: Group, context: Sequence[int], unit: int) -> str:
    return f"{group.id}, units {unit} and {unit + 1} in context {tuple(context)}"


def worst_generator(
    module: nn.Module, spec: PermutationSpec, inputs: Sequence[Tensor], most: int | None = None
) -> tuple[float, str]:
    """The largest relative change of an output number by one generator, and which one that is.

    Parameters and inputs are normal in float64, drawn anew for a change that is no rounding: the
    smallest change of the draws counts, so that an unlucky one accuses nobody.
    """
    claims = list(generators(spec, most))
    worst, name = 0.0, ""
    for text, moved in claims:
        change = _change(module, spec, inputs, moved, 0)
        for draw in range(1, _DRAWS):
            if change > WRONG:
                change = min(change, _change(module, spec, inputs, moved, draw))
        if change > worst:
            worst, name = change, text
    return worst, name


def _change(
    module: nn.Module,
    spec: PermutationSpec,
    inputs: Sequence[Tensor],
    moved: Permutation,
    draw: int,
) -> float:
    generator = torch.Generator().manual_seed(draw)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    state = {name: normal(value) for name, value in module.state_dict().items()}
    drawn = tuple(map(normal, inputs))

    def run(values: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            result: Tensor = torch.func.functional_call(module, values, drawn)
        return result

    before, after = run(state), run(spec.apply(moved, state))
    compared = before.isfinite() & after.isfinite()
    scale = before.abs().clamp(min=1e-3)
    return float((((after - before).abs() / scale)[compared]).max()) if compared.any() else 0.0
