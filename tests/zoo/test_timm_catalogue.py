"""timm as a list: names, families, sizes, ways to run a model at less cost."""

import pytest
import timm
import torch

from zooalign.zoo.adapters import Catalogue
from zooalign.zoo.references import parse_reference
from zooalign.zoo.timm_adapter import TimmAdapter

adapter = TimmAdapter()


def test_lists_everything_once() -> None:
    assert isinstance(adapter, Catalogue)
    names = adapter.names()
    assert sorted(names) == sorted(timm.list_models()) and len(set(names)) == len(names)
    families = {adapter.family(name) for name in names}
    assert {"resnet", "vision_transformer", "swin_transformer"} <= families
    assert adapter.family("test_vit") == "vision_transformer"


def test_parameters_are_counted_without_values() -> None:
    for name in ("test_resnet", "test_vit", "test_convnext"):
        whole = timm.create_model(name)
        architecture = adapter.from_reference(parse_reference(f"timm:{name}"))
        assert adapter.parameters(architecture) == sum(p.numel() for p in whole.parameters())


def test_reductions_run() -> None:
    for name in ("test_vit", "test_resnet"):
        architecture = adapter.from_reference(parse_reference(f"timm:{name}"))
        size = adapter.parameters(architecture)
        ran = set()
        for reduction in adapter.reductions(architecture, 2):
            assert reduction.inputs[0].shape[0] == 2
            try:
                module = adapter.build_initialised(reduction.architecture, 0)
                with torch.no_grad():
                    module(*reduction.inputs)
            except Exception:
                continue
            fewer = sum(p.numel() for p in module.parameters()) < size
            ran.add(reduction.how.partition("=")[0].partition(" ")[0])
            assert fewer or reduction.inputs[0].shape[-1] < 160
        assert ran >= ({"img_size", "depth"} if name == "test_vit" else {"input"})


@pytest.mark.parametrize(
    ("name", "fewer"),
    [
        ("convnext_atto", {"depths": [2, 2, 2, 2]}),
        ("dm_nfnet_f0", {"depths": [2, 2, 2, 2]}),  # a field of its configuration
        ("naflexvit_base_patch16_gap", {"depth": 2}),  # of one that may be left out
        ("hiera_tiny_224", {"stages": [2, 2, 2, 2]}),
    ],
)
def test_fewer_layers_are_asked_for_by_the_name_the_class_has(
    name: str, fewer: dict[str, object]
) -> None:
    architecture = adapter.from_reference(parse_reference(f"timm:{name}"))
    (made,) = {
        repr(r.architecture.to_json()): r.architecture
        for r in adapter.reductions(architecture, 2)
        if r.architecture.config["model_args"] == fewer
    }.values()
    assert adapter.parameters(made) < 0.9 * adapter.parameters(architecture)
