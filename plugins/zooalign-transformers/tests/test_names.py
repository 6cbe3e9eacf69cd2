"""Models of other label orders and vocabularies are merged by name; by place they are mixed up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import zooalign
from hf_models import WORDS
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from zooalign.errors import MergeError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.barrier import barrier_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.settings import AlignSettings, BarrierSettings, MergeSettings, Naming

from zooalign_transformers.example_inputs.basic import InputRequest, tokens
from zooalign_transformers.vocabulary import token_names

OTHER = [*WORDS[:4], "bird", "flew", *WORDS[6:]]  # without sat, ran


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def bert(seed: int, **labels: Any) -> Any:
    torch.manual_seed(seed)
    config = transformers.BertConfig(vocab_size=24, **SMALL, **labels)
    return transformers.BertForSequenceClassification(config).eval()


def llama(seed: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(vocab_size=18, eos_token_id=1, **SMALL)
    return transformers.LlamaForCausalLM(config).eval()


def merged(references: list[Path], out: Path, **settings: Any) -> dict[str, torch.Tensor]:
    merge_models(
        [str(r) for r in references], str(out), MergeSettings(**{"method": "weight", **settings})
    )
    return load_file(out / "model.safetensors")


def labelled(directory: Path, labels: list[str], state: dict[str, Any] | None = None) -> Path:
    names = dict(enumerate(labels))
    model = bert(0, id2label=names, label2id={label: n for n, label in names.items()})
    model.load_state_dict(state or model.state_dict())
    model.save_pretrained(directory)
    return directory


def test_classes_are_averaged_by_label(tmp_path: Path) -> None:
    """The other model is the first one with its classes in another order: nothing may change."""
    a = labelled(tmp_path / "a", ["neg", "mixed", "pos"])
    state = load_file(a / "model.safetensors")
    turned = {n: t.flip(0) if n.startswith("classifier") else t for n, t in state.items()}
    b = labelled(tmp_path / "b", ["pos", "mixed", "neg"], turned)
    with pytest.warns(ZooalignWarning, match="taken by its labels: 2 rows"):
        by_name = merged([a, b], tmp_path / "out")
    for name, tensor in by_name.items():
        torch.testing.assert_close(tensor, state[name], msg=name)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "neg", "1": "mixed", "2": "pos"}
    asked = CheckRequest(parents=(str(a), str(b)))
    (note,) = (f for f in check(str(tmp_path / "out"), asked).findings if f.id == "meaning.names")
    assert note.severity == "note" and "the label 'neg', and the label 'pos'" in note.message

    # As another tool merges them: by place. Both classes become one, and check says so.
    misnamed = labelled(tmp_path / "b", ["neg", "mixed", "pos"], turned)
    by_place = merged([a, misnamed], tmp_path / "x", method="none")
    rows = by_place["classifier.weight"]
    torch.testing.assert_close(rows[0], rows[2])
    labelled(tmp_path / "b", ["pos", "mixed", "neg"], turned)
    for file in (tmp_path / "x" / "zooalign").iterdir():
        file.unlink()
    findings = check(str(tmp_path / "x"), asked).findings
    assert [f.parameter for f in findings if f.id == "meaning.names"] == ["classifier.weight"]


def spoken(directory: Path, tokens: list[str], model: Any) -> Path:
    """A language model with a tokenizer of whole words."""
    words = Tokenizer(models.WordLevel({t: n for n, t in enumerate(tokens)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "unk_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)
    model.config.pad_token_id, model.config.bos_token_id = (
        tokens.index(t) for t in ("<pad>", "<s>")
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken(tmp_path_factory.mktemp("a"), ["<pad>", "<s>", *WORDS], llama(0))


def logits(directory: Path, text: str) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1]
    return found


def test_tokens_in_another_order(a: Path, tmp_path: Path) -> None:
    """The other model is the first one with its vocabulary turned around: nothing may change."""
    state = load_file(a / "model.safetensors")
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    other = llama(1)
    other.load_state_dict({n: t.flip(0) if n in tables else t for n, t in state.items()})
    b = spoken(tmp_path / "b", [*reversed(WORDS), "<s>", "<pad>"], other)
    with pytest.warns(ZooalignWarning, match="taken by its tokens: 18 rows"):
        by_name = merged([a, b], tmp_path / "out")
    for name, tensor in by_name.items():
        torch.testing.assert_close(tensor, state[name], msg=name)
    x = np.random.default_rng(0).integers(2, 18, (4, 9))
    np.savez(tmp_path / "data.npz", x=x, y=x)
    asked = BarrierSettings(data=str(tmp_path / "data.npz"), alphas=3)
    with pytest.warns(ZooalignWarning, match="taken by its tokens"):
        curve = barrier_models(str(a), str(b), asked).measured
    assert max(curve.loss) == pytest.approx(min(curve.loss), rel=1e-5)
    (b / "tokenizer.json").unlink()  # nobody knows its tokens: by place they are mixed
    by_place = merged([a, b], tmp_path / "mixed")
    assert not torch.allclose(by_place[tables[0]], state[tables[0]], atol=1e-3)


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken(tmp_path_factory.mktemp("c"), ["<s>", "<pad>", *OTHER], llama(2))


@pytest.fixture(scope="module")
def aligned(a: Path, c: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second model in the order of the first one's units, with its own tokens."""
    out = tmp_path_factory.mktemp("aligned") / "out"
    with pytest.warns(ZooalignWarning, match="taken by its tokens"):
        align_models(str(a), str(c), str(out), AlignSettings(method="weight"))
    return out


def test_other_vocabularies_are_refused(a: Path, c: Path, tmp_path: Path) -> None:
    with pytest.raises(
        MergeError, match=r"only it has 'bird', 'flew'; it lacks 'sat', 'ran'.*--tok"
    ):
        merged([a, c], tmp_path / "out")
    with pytest.raises(MergeError, match="--tokens is 'all'; there are union, intersection, first"):
        merged([a, c], tmp_path / "out", naming=Naming(tokens="all"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("first", WORDS),
        ("union", [*WORDS, "bird", "flew"]),
        ("intersection", [word for word in WORDS if word in OTHER]),
    ],
)
def test_other_vocabularies(
    a: Path, c: Path, aligned: Path, tmp_path: Path, tokens: str, words: list[str]
) -> None:
    out = tmp_path / "out"
    with pytest.warns(ZooalignWarning, match="taken by its tokens"):
        state = merged([a, c], out, naming=Naming(tokens=tokens))
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    table = tokenizer.get_vocab()
    assert [w for w, _ in sorted(table.items(), key=lambda i: i[1])] == ["<pad>", "<s>", *words]
    assert logits(out, "the cat").shape == (len(table),)
    if tokens == "union":  # both models lack rows
        assert check(str(out), CheckRequest(parents=(str(a), str(c)))).ok
    first, second = (load_file(p / "model.safetensors") for p in (a, aligned))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        ours = dict(zip(["<pad>", "<s>", *WORDS], first[name], strict=True))
        theirs = dict(zip(["<s>", "<pad>", *OTHER], second[name], strict=True))
        for word, number in table.items():
            rows = [rows[word] for rows in (ours, theirs) if word in rows]
            torch.testing.assert_close(state[name][number], torch.stack(rows).mean(0))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_example_tokens_are_of_the_vocabulary(size: int) -> None:
    """Also where the end of text is among the few that there are."""
    for end in range(size):
        config = transformers.LlamaConfig(vocab_size=size, eos_token_id=end)
        request = InputRequest(torch.nn.Identity(), config, 2, torch.Generator().manual_seed(0))
        ids = tokens(request)
        assert ids.min() >= 0 and ids.max() < size and (ids[:, -1] == end).all()
        assert size == 1 or (ids[:, :-1] != end).all()


def test_a_vocabulary_of_pieces_is_read_and_one_without_names_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    pieces = ["<unk>", "<s>", "\u2581the", "\u2581caf\u00e9", "x" * 200]

    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        varint = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        return bytes([number << 3 | 2]) + varint + content

    def piece(text: str) -> bytes:
        score = b"\x15" + np.float32(-1.5).tobytes()  # field 2, four bytes
        return field(1, field(1, text.encode()) + score + b"\x18\x01")  # field 3, a varint

    model = b"".join(map(piece, pieces)) + field(2, b"trainer") + field(3, b"normalizer")
    for name in ("tokenizer.model", "spiece.model"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(model)
        assert token_names(folder, 7).names == (*pieces, None, None)
        (folder / name).write_bytes(model[:-3])  # cut short
        assert token_names(folder, 7).names == (None,) * 7
    (tmp_path / "tokenizer-model" / "tokenizer.model").write_text("YQ== 0\nYg== 1\n")  # tiktoken
    assert token_names(tmp_path / "tokenizer-model", 2).names == (None, None)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)  # its rows are numbered otherwise
    assert token_names(tmp_path, 7).names == (None,) * 7


def test_models_in_memory_are_merged_by_label() -> None:
    labels = ["neg", "mixed", "pos"]
    first, other = (
        bert(0, id2label=dict(enumerate(names)), label2id={x: n for n, x in enumerate(names)})
        for names in (labels, labels[::-1])
    )
    with torch.no_grad():
        for tensor in other.classifier.parameters():
            tensor.copy_(tensor.flip(0))
    example = {"input_ids": torch.ones(2, 4, dtype=torch.long)}
    with pytest.warns(ZooalignWarning, match="'model 1' is taken by its labels: 2 rows"):
        result = zooalign.merge(first, other, method="weight", example_inputs=example)
    for name, tensor in result.state_dict.items():
        torch.testing.assert_close(tensor, first.state_dict()[name], msg=name)
    other.config.id2label = {0: "neg", 1: "mixed", 2: "good"}
    with pytest.raises(MergeError, match=r"only it has 'good'; it lacks 'pos'.*zooalign merge"):
        zooalign.merge(first, other, method="weight", example_inputs=example)
    with pytest.warns(ZooalignWarning, match="'model 1' is taken by its labels"):
        aligned = zooalign.align(other, to=first, method="weight", example_inputs=example)
    rows = other.state_dict()["classifier.bias"]
    assert torch.equal(aligned.state_dict["classifier.bias"], rows)  # keeps its own order
