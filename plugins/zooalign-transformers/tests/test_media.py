"""Images and sound through a model's own processor."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from zooalign.errors import DataError
from zooalign.release.calibration import open_for
from zooalign.release.settings import Loading
from zooalign.zoo.models import Model, open_model


def vit(directory: Path) -> Model:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        image_size=32, patch_size=8, num_labels=2,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(directory)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(directory)
    return open_model(str(directory))


def test_images_go_through_the_processor(tmp_path: Path) -> None:
    model = vit(tmp_path / "model")
    for name, shade in (("dark", 40), ("light", 200)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = np.full((20, 24, 3), shade + number, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (pixels, *_), targets = next(iter(open_for(model, str(tmp_path / "images"), Loading())))
    assert pixels.shape == (6, 3, 32, 32)
    assert targets is not None and targets.tolist() == [0, 1] * 3
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    own = processor(images=Image.open(tmp_path / "images/dark/0.png"), return_tensors="pt")
    assert torch.equal(pixels[0], own["pixel_values"][0])
    datasets = pytest.importorskip("datasets")
    datasets.config.HF_DATASETS_CACHE = tmp_path / "cache"
    (pixels, *_), targets = next(iter(open_for(model, f"datasets:{tmp_path}/images", Loading())))
    assert targets is not None and targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(pixels[0], own["pixel_values"][0])


def test_pixels_in_an_array_are_refused(tmp_path: Path) -> None:
    model = vit(tmp_path / "model")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="pixels in an array are not preprocessed"):
        list(open_for(model, str(tmp_path / "x.npz"), Loading()))


def sound(path: Path, frames: int, rate: int = 16000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        values = (np.sin(np.arange(frames) / 20) * 9000).astype("<i2")
        file.writeframes(values.tobytes())


def stored_sounds(folder: Path, files: list[Path]) -> str:
    """A data set of sounds as a hub stores it: their bytes, in a table."""
    datasets = pytest.importorskip("datasets")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir()
    datasets.config.HF_DATASETS_CACHE = folder.parent / "cache"
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    schema = datasets.Features({"audio": datasets.Audio()}).arrow_schema
    table = arrow.Table.from_pydict({"audio": rows}, schema=schema)
    parquet.write_table(table, folder / "train.parquet")
    return f"datasets:{folder}"


def test_sounds_of_a_data_set(tmp_path: Path) -> None:
    model = wav2vec2(tmp_path / "model")
    sound(tmp_path / "a.wav", 900)
    sound(tmp_path / "b.wav", 1200)
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    (tmp_path / "sounds").mkdir()
    for file in files:
        (tmp_path / "sounds" / file.name).write_bytes(file.read_bytes())
    name = stored_sounds(tmp_path / "set", files)
    ((given,), _), *_ = open_for(model, name, Loading())
    ((wanted,), _), *_ = open_for(model, str(tmp_path / "sounds"), Loading())
    assert torch.equal(given, wanted)
    ((second,), _), *_ = open_for(model, f"{name}?slice=1:", Loading())
    assert second.shape == (1, 1200)


def wav2vec2(directory: Path) -> Model:
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, vocab_size=12,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(directory)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(directory)
    return open_model(str(directory))


def test_sounds_are_cut_to_the_shortest(tmp_path: Path) -> None:
    model = wav2vec2(tmp_path / "model")
    folder = tmp_path / "sounds"
    folder.mkdir()
    sound(folder / "a.wav", 900)
    sound(folder / "b.wav", 1200)
    ((values,), targets), *_ = open_for(model, str(folder), Loading())
    assert values.shape == (2, 900)
    assert targets is None
    assert float(values.mean()) == pytest.approx(0, abs=1e-3)
    sound(folder / "c.wav", 900, rate=8000)
    with pytest.raises(DataError, match=r"c\.wav: 8000 samples a second"):
        open_for(model, str(folder), Loading())
