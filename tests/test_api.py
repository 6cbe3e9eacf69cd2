"""The Python API on modules in memory."""

from collections.abc import Mapping

import pytest
import torch
from sample_models.small import TwoLayers
from torch import Tensor, nn

import zooalign
from zooalign.errors import DataError, MergeError, SpecError, ZooalignWarning
from zooalign.matching import match_many
from zooalign.merging.refit import RefitSettings
from zooalign.testing import assert_equivalent


def mlp(seed: int, norm: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(24)] if norm else []
    return nn.Sequential(
        nn.Linear(6, 24), *middle, nn.ReLU(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 3)
    ).eval()


def batches(count: int = 3, rows: int = 64) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(count, rows, 6, generator=generator)
    targets = torch.randint(0, 3, (count, rows), generator=generator)
    return list(zip(inputs, targets, strict=True))


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def permuted_copy(model: nn.Module, seed: int = 3) -> nn.Module:
    spec = zooalign.extract_spec(model, torch.zeros(2, 6))
    other = mlp(99, norm=any(isinstance(m, nn.BatchNorm1d) for m in model.modules()))
    other.load_state_dict(spec.apply(spec.random(seed), model.state_dict()))
    return other


def test_extract_and_verify() -> None:
    model = mlp(0)
    spec = zooalign.extract_spec(model, torch.zeros(2, 6), architecture="mlp")
    assert sorted(group.size for group in spec.groups) == [16, 24]
    assert spec == zooalign.extract_spec(model, (torch.zeros(2, 6),), architecture="mlp")
    found = zooalign.verify(model, spec, torch.zeros(2, 6), seed=1)
    assert found.ok
    assert found.ok and found.max_relative_error < found.tolerance


def test_explain() -> None:
    found = zooalign.explain(mlp(0), torch.zeros(2, 6), "2.weight", 1)
    assert "`0.weight` axis 0" in found.text()
    with pytest.raises(SpecError, match=r"9\.weight"):
        zooalign.explain(mlp(0), torch.zeros(2, 6), "9.weight")


@pytest.mark.parametrize("method", ["activation", "weight"])
@pytest.mark.parametrize("norm", [False, True])
def test_permuted_copy_is_recovered_bit_for_bit(method: str, norm: bool) -> None:
    model = mlp(0, norm)
    moved = permuted_copy(model)
    assert not same(moved.state_dict(), model.state_dict())
    found = zooalign.align(moved, to=model, data=batches(), method=method)
    assert same(found.state_dict, model.state_dict())
    assert found.match.moved_fraction > 0.5
    assert found.verification.ok


def test_align_changes_no_input_and_keeps_the_function() -> None:
    a, b = mlp(0), mlp(1).train()
    before = copied(a.state_dict()), copied(b.state_dict())
    found = zooalign.align(b, to=a, data=batches())
    assert same(a.state_dict(), before[0])
    assert same(b.state_dict(), before[1])
    assert b.training
    assert_equivalent(b, found.state_dict, torch.randn(5, 6))
    assert same(found.spec.apply(found.permutation, b.state_dict()), found.state_dict)
    shared = {t.data_ptr() for t in b.state_dict().values()}
    assert not shared & {t.data_ptr() for t in found.state_dict.values()}


def test_align_inplace() -> None:
    a, b = mlp(0), mlp(1)
    inputs = torch.randn(5, 6)
    expected = b(inputs)
    found = zooalign.align(b, to=a, data=batches(), inplace=True)
    assert same(b.state_dict(), found.state_dict)
    torch.testing.assert_close(b(inputs), expected)
    with pytest.raises(TypeError, match="inplace"):
        zooalign.align(b.state_dict(), to=a, data=batches(), inplace=True)


def test_align_keeps_16_bit_and_tied_tensors() -> None:
    a, b = mlp(0).bfloat16(), mlp(1).bfloat16()
    found = zooalign.align(b, to=a, data=[x for x, _ in batches()])
    assert {t.dtype for t in found.state_dict.values()} == {torch.bfloat16}
    assert found.verification.ok


def test_align_state_dicts() -> None:
    model = mlp(0)
    moved = permuted_copy(model).state_dict()
    found = zooalign.align(moved, to=model.state_dict(), data=batches(), module=mlp(5))
    assert same(found.state_dict, model.state_dict())
    with pytest.raises(MergeError, match="module="):
        zooalign.align(moved, to=model.state_dict(), data=batches())


def test_align_says_what_is_missing() -> None:
    a, b = mlp(0), mlp(1)
    with pytest.raises(DataError, match="example_inputs"):
        zooalign.align(a, to=b, method="weight")
    with pytest.raises(MergeError, match="auto matching needs data"):
        zooalign.align(a, to=b, example_inputs=torch.zeros(2, 6))
    with pytest.raises(DataError, match="once"):
        zooalign.align(a, to=b, data=iter(batches()))
    with pytest.raises(DataError, match="no batch"):
        zooalign.align(a, to=b, data=[])
    with pytest.raises(MergeError, match="nonsense"):
        zooalign.align(a, to=b, data=batches(), method="nonsense")


def test_wrong_spec_is_caught() -> None:
    """The proof is a proof: a spec that is too generous is refused."""
    sizes = (6, 24, 3)

    torch.manual_seed(0)
    spec = zooalign.extract_spec(TwoLayers(torch.relu, sizes), torch.zeros(2, 6))
    torch.manual_seed(1)
    a, b = (TwoLayers(lambda h: h.relu() * torch.arange(24), sizes) for _ in range(2))
    with pytest.raises(SpecError, match="something else"):
        zooalign.align(a, to=b, spec=spec, method="weight", example_inputs=torch.randn(2, 6))


def test_match_takes_modules_and_state_dicts() -> None:
    a, b = mlp(0), mlp(1)
    spec = zooalign.extract_spec(a, torch.zeros(2, 6))
    of_modules = zooalign.match(spec, a, b, data=batches())
    of_states = zooalign.match(spec, a.state_dict(), b.state_dict(), data=batches(), module=a)
    assert of_modules.permutation == of_states.permutation
    assert zooalign.match(spec, a, b, method="weight").method == "weight"


def test_merge_of_permuted_copies_is_the_model() -> None:
    model = mlp(0)
    copies = [permuted_copy(model, seed) for seed in (1, 2)]
    found = zooalign.merge(model, *copies, data=batches())
    assert found.statistics == "none"
    assert found.matches[0] is None
    assert [m.method for m in found.matches[1:] if m] == ["auto", "auto"]
    assert found.permutations[0] == found.spec.identity()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found.state_dict[name], tensor)
    as_they_are = zooalign.merge(model, *copies, data=batches(), method="none")
    assert not torch.allclose(as_they_are.state_dict["0.weight"], model.state_dict()["0.weight"])


@pytest.mark.parametrize("through", ["universe", "mean", "auto"])
def test_three_are_merged_in_one_order_at_once(through: str) -> None:
    models = [mlp(seed) for seed in range(3)]
    how = {"data": batches(), "method": "activation"}
    found = zooalign.merge(models, **how, through=through, refit="none")
    states = [model.state_dict() for model in models]
    many = match_many(
        found.spec, states, data=batches(), module=models[0], method="activation", through=through
    )
    assert found.permutations == many.permutations
    assert found.permutations[0] == found.spec.identity()
    moved = [
        found.spec.apply(p, s)["0.weight"] for p, s in zip(many.permutations, states, strict=True)
    ]
    torch.testing.assert_close(found.state_dict["0.weight"], torch.stack(moved).mean(0))
    alone = zooalign.merge(models, data=batches(), method="activation")
    assert alone.permutations != found.permutations or through == "auto"
    with pytest.raises(MergeError, match="matched by activation or weight"):
        zooalign.merge(models, data=batches(), through=through)


def test_merge_weights_and_inputs() -> None:
    a, b = mlp(0), mlp(1)
    before = copied(a.state_dict()), copied(b.state_dict())
    how = {"weights": (3, 1), "data": batches(), "refit": "none"}
    found = zooalign.merge(a, b, **how)
    moved = found.spec.apply(found.permutations[1], b.state_dict())
    expected = 0.75 * a.state_dict()["0.weight"] + 0.25 * moved["0.weight"]
    torch.testing.assert_close(found.state_dict["0.weight"], expected)
    assert found.weights == (0.75, 0.25)
    assert same(zooalign.merge([a, b], **how).state_dict, found.state_dict)
    assert same(a.state_dict(), before[0])
    assert same(b.state_dict(), before[1])
    with pytest.raises(MergeError, match="two models"):
        zooalign.merge(a, data=batches())


def test_merge_resets_statistics_or_says_that_they_are_stale() -> None:
    a, b = mlp(0, norm=True), mlp(1, norm=True)
    data = batches()
    reset = zooalign.merge(a, b, data=data)
    assert reset.statistics == "reset"
    hidden = nn.functional.linear(
        torch.cat([x for x, _ in data]), reset.state_dict["0.weight"], reset.state_dict["0.bias"]
    )
    torch.testing.assert_close(reset.state_dict["1.running_mean"], hidden.mean(0))
    torch.testing.assert_close(reset.state_dict["1.running_var"], hidden.var(0))
    with pytest.warns(ZooalignWarning, match="STALE"):
        stale = zooalign.merge(a, b, method="weight", example_inputs=torch.zeros(2, 6))
    assert stale.statistics == "stale"
    assert stale.stale_statistics
    assert not reset.stale_statistics


def test_merge_repairs() -> None:
    found = zooalign.merge(mlp(0), mlp(1), data=batches(), repair=True)
    plain = zooalign.merge(mlp(0), mlp(1), data=batches())
    assert (found.statistics, plain.statistics) == ("repaired", "none")
    assert not same(found.state_dict, plain.state_dict)
    with pytest.raises(DataError, match="REPAIR"):
        zooalign.merge(mlp(0), mlp(1), method="weight", repair=True)


def test_merge_refits_to_what_the_models_compute() -> None:
    a, b = mlp(0), mlp(1)
    data = batches()
    how = {"data": data, "method": "activation", "evaluate": data}
    plain, refitted = (zooalign.merge(a, b, **how, refit=r) for r in ("none", "least-squares"))
    assert plain.refit is None and refitted.refit is not None
    assert refitted.refit.method == "least-squares" and refitted.refit.calibration_rows == 192
    assert {layer.name for layer in refitted.refit.layers} == {"0.weight", "2.weight", "4.weight"}

    def distance(merged: zooalign.Merged) -> float:
        """From the mean of what the models compute."""
        module = mlp(0)
        module.load_state_dict(merged.state_dict)
        with torch.no_grad():
            gaps = [(a(x) + b(x)) / 2 - module(x) for x, _ in data]
        return float(torch.cat(gaps).square().mean())

    assert distance(refitted) < distance(plain) / 2
    assert plain.benefit and refitted.benefit and refitted.benefit.agreement
    assert plain.benefit.parents == refitted.benefit.parents
    assert zooalign.merge(a, b, data=data).benefit is None
    settings = RefitSettings(method="least-squares", ridge=1e6)
    held = zooalign.merge(a, b, data=data, method="activation", refit=settings).state_dict
    torch.testing.assert_close(held["0.weight"], plain.state_dict["0.weight"], rtol=1e-3, atol=1e-4)


def test_what_a_refit_refuses() -> None:
    a, b = mlp(0), mlp(1)
    with pytest.raises(DataError, match="refit"):
        zooalign.merge(a, b, example_inputs=torch.zeros(2, 6), refit="least-squares")
    with pytest.raises(MergeError, match="not both"):
        zooalign.merge(a, b, data=batches(), refit="features", repair=True)
    with pytest.raises(MergeError, match="'sometimes', not one of auto, none"):
        zooalign.merge(a, b, data=batches(), refit="sometimes")


def test_barrier_before_and_after() -> None:
    model = mlp(0)
    with torch.no_grad():
        data = [(x, model(x).argmax(1)) for x, _ in batches()]
    moved = permuted_copy(model)
    before = zooalign.barrier(model, moved, data=data, alphas=5)
    aligned = zooalign.align(moved, to=model, data=data)
    after = zooalign.barrier(model, aligned.state_dict, data=data, test=data, alphas=[0, 0.5, 1])
    assert before.barrier["error"].over_line > 0.1
    assert after.barrier["error"].over_line == pytest.approx(0, abs=1e-6)
    assert after.alphas == (0.0, 0.5, 1.0)
    assert after.test == after.train
    with pytest.raises(DataError, match="targets"):
        zooalign.barrier(model, moved, data=[x for x, _ in data])


def test_repair_beside_running_statistics() -> None:
    """A norm behind the activation: the layer is repaired, and the norm is reset behind it."""

    def build(seed: int, behind: bool) -> nn.Module:
        torch.manual_seed(seed)
        both: list[nn.Module] = [nn.ReLU(), nn.BatchNorm1d(8)]
        middle = both if behind else both[::-1]
        return nn.Sequential(nn.Linear(6, 8), *middle, nn.Linear(8, 3)).eval()

    data = [torch.randn(64, 6, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    behind = zooalign.merge(build(0, True), build(1, True), data=data, repair=True)
    assert behind.statistics == "repaired"
    rows = torch.cat(data) @ behind.state_dict["0.weight"].T + behind.state_dict["0.bias"]
    torch.testing.assert_close(behind.state_dict["2.running_mean"], rows.relu().mean(0))
    before = zooalign.merge(build(0, False), build(1, False), data=data, repair=True)
    assert before.statistics == "reset"


def test_a_misspelt_keyword_is_named_with_the_one_that_is_meant() -> None:
    model = nn.Linear(4, 3)
    with pytest.raises(TypeError, match=r"barrier\(\) has no argument 'alpha'; did you mean 'alph"):
        zooalign.barrier(model, model, data=[torch.zeros(2, 4)], alpha=3)
    with pytest.raises(TypeError, match="there are alphas, reset, loss, metric"):
        zooalign.barrier(model, model, data=[torch.zeros(2, 4)], verbose=True)


def test_example_inputs_of_another_form_are_told_apart() -> None:
    net = torch.nn.Linear(6, 3)
    for given, words in (
        ({"x": torch.zeros(2, 6)}, "a batch has 'x', and Linear.forward takes input: leave"),
        (torch.zeros(2, 6).numpy(), "not ndarray: pass torch.as_tensor"),
        ((2, 6), r"\(2, 6\) is a shape: pass an example input, such as torch.zeros\(2, 6\)"),
    ):
        with pytest.raises(DataError, match=words):
            zooalign.extract_spec(net, given)  # type: ignore[arg-type]


def test_explain_names_classes_where_they_are_asked_for() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for symmetries, named in (("permutations", None), ("linear", "scaled permutations")):
        explained = zooalign.explain(
            network, torch.zeros(2, 4), "0.weight", 0, symmetries=symmetries
        )
        (axis,) = explained.to_dict()["axes"]
        assert [group["symmetry_class"] for group in axis["groups"]] == [named]
