"""torchvision's models: named, read from files of weights, written, loaded again."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from zooalign.errors import DataError, ModelReferenceError
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import extract_spec
from zooalign.zoo.models import open_model

TINY = "torchvision:squeezenet1_1?num_classes=5"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("resnet19", r"has no model 'resnet19'; similar: resnet"),
        ("resnet18?weights=DEFAULT", "weights is not an option of an architecture"),
        ("quantized_resnet18", "quantised models have no permutation spec; take resnet18"),
        ("ssd300_vgg16", "detection models take a list of pictures"),
        ("resnet18?num_clases=5", "cannot build 'resnet18'.*num_clases"),
    ],
)
def test_what_is_refused(reference: str, message: str) -> None:
    with pytest.raises(ModelReferenceError, match=message):
        open_model(f"torchvision:{reference}").build()


@pytest.mark.parametrize(
    ("reference", "shapes"),
    [
        ("vit_b_16?image_size=32", [(2, 3, 32, 32)]),
        ("inception_v3", [(2, 3, 299, 299)]),
        ("r3d_18", [(2, 3, 16, 112, 112)]),
        ("lraspp_mobilenet_v3_large", [(2, 3, 64, 64)]),
        ("raft_small", [(2, 3, 128, 128)] * 2),
    ],
)
def test_inputs(reference: str, shapes: list[tuple[int, ...]]) -> None:
    model = open_model(f"torchvision:{reference}")
    assert [tuple(x.shape) for x in model.example_inputs(2)] == shapes


def test_pictures_are_prepared_as_its_own_transforms_do() -> None:
    from PIL import Image

    picture = Image.effect_noise((200, 160), 80).convert("RGB")
    own = torchvision.models.get_model_weights("resnet18").DEFAULT.transforms()
    ours = open_model("torchvision:resnet18")
    prepared = ours.adapter.preprocess(ours.architecture)(picture)
    assert torch.allclose(prepared, own(picture), atol=1e-6)
    video = open_model("torchvision:r3d_18")
    with pytest.raises(DataError, match="more than one picture"):
        video.adapter.preprocess(video.architecture)


def test_files_of_weights_are_aligned_and_loaded_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    opened = open_model(TINY)
    spec = extract_spec(opened.build(), (torch.zeros(2, 3, 64, 64),))
    moved = spec.apply(spec.random(3), network.state_dict())
    torch.save(dict(moved), tmp_path / "b.pth")
    settings = AlignSettings(method="weight", model=TINY, allow_pickle=True)
    align_models(str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), str(tmp_path / "out"), settings)
    aligned = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(aligned[k], v) for k, v in network.state_dict().items())
    again = open_model(str(tmp_path / "out"))
    assert again.adapter.name == "torchvision"
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.adapter.load(tmp_path / "out")(image), network(image))
