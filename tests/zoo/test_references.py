"""The reference parser."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zooalign.errors import ModelReferenceError
from zooalign.zoo.references import Reference, format_query, parse_reference
from zooalign.zoo.suggestions import no_such

identifiers = st.from_regex(r"[a-z_][a-z0-9_]{1,6}", fullmatch=True).filter(
    lambda text: parses(f"py:{text}:f")
)
parts = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda part: ".." not in part and "--" not in part
)
options = st.dictionaries(
    st.from_regex(r"[a-z_]{1,5}", fullmatch=True),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.lists(st.integers() | st.booleans(), max_size=3).map(tuple),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))


def parses(text: str) -> bool:
    try:
        parse_reference(text)
    except ModelReferenceError:
        return False
    return True


@given(
    st.tuples(parts, parts), st.none() | st.sampled_from(["main", "v1.0", "refs/pr/1", "0f" * 20])
)
def test_hub_references_are_their_normal_form(repo: tuple[str, str], revision: str | None) -> None:
    text = "/".join(repo) + (f"@{revision}" if revision else "")
    for suffix in (".safetensors", ".bin", ".pth", ".pt"):
        if text.lower().endswith(suffix):
            return
    assert parse_reference(text) == Reference("hub", "/".join(repo), revision=revision)
    assert str(parse_reference(text)) == text
    assert parse_reference(f"hub:{text}") == parse_reference(text)


@example("0", (("_", "a "),))
@given(parts, options)
def test_registry_references_round_trip(name: str, found: tuple) -> None:
    query = f"?{format_query(found)}" if found else ""
    text = f"timm:{name}{query}"
    parsed = parse_reference(text)
    assert parsed == Reference("registry", name, library="timm", options=found)
    assert parse_reference(str(parsed)) == parsed
    assert str(parse_reference(str(parsed))) == str(parsed)


@given(st.lists(identifiers, min_size=1, max_size=3), identifiers, options)
def test_python_references_round_trip(module: list[str], name: str, found: tuple) -> None:
    query = f"?{format_query(found)}" if found else ""
    text = f"py:{'.'.join(module)}:{name}{query}"
    assert str(parse_reference(text)) == text


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except ModelReferenceError:
        return
    assert parse_reference(str(parsed)) == parsed


def test_options_are_sorted_and_typed() -> None:
    parsed = parse_reference("timm:resnet18.a1_in1k?num_classes=10&img_size=[96,96]&act_layer=gelu")
    assert parsed.kwargs == {"act_layer": "gelu", "img_size": [96, 96], "num_classes": 10}
    assert str(parsed) == "timm:resnet18.a1_in1k?act_layer=gelu&img_size=[96,96]&num_classes=10"
    assert hash(parsed) == hash(parse_reference(str(parsed)))


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert parse_reference("runs/a") == Reference("directory", "./runs/a")
    assert parse_reference("./runs/a") == Reference("directory", "./runs/a")
    assert parse_reference(f"{tmp_path}") == Reference("directory", str(tmp_path))
    assert parse_reference("hub:runs/a").kind == "hub"
    assert parse_reference("runs/b").kind == "hub"
    assert parse_reference("./a@b?c=d").target == "./a@b?c=d"
    averaged = Reference("file", "./b.pth", options=(("state", "ema"),))
    assert parse_reference("b.pth?state=ema") == parse_reference(str(averaged)) == averaged
    with pytest.raises(ModelReferenceError, match=r"has one option, .* \?state=ema"):
        parse_reference("b.pth?num_classes=10")
    assert parse_reference("best.safetensors") == Reference("file", "./best.safetensors")
    assert parse_reference("runs/best.pth").is_pickle
    (tmp_path / "odd.bin").mkdir()
    assert parse_reference("odd.bin").kind == "directory"
    assert parse_reference("./odd.bin").kind == "directory"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" a/b", "spaces around"),
        ("a\nb/c", "control characters"),
        ("gpt2", "neither an existing directory"),
        ("a/b/c", "neither an existing directory"),
        ("a/b@", "'' is not a revision"),
        ("a/b@x..y", "is not a revision"),
        ("a/b@c@d", "is not a revision"),
        ("a/b?x=1", "takes no \\?options"),
        ("a/b--c", "no '--'"),
        ("hf-hub:timm/resnet18", "write 'timm/resnet18'"),
        ("local-dir:x", "write './x'"),
        ("https://huggingface.co/a/b", "is a URL"),
        ("~/model", "the shell's"),
        ("timm:", "not an architecture name"),
        ("timm:a b", "not an architecture name"),
        ("timm:resnet18?", "has no '='"),
        ("timm:resnet18?pretrained=True", "write true"),
        ("py:module", "does not name a callable"),
        ("py:a.b:", "does not name a callable"),
        ("py:a..b:c", "does not name a callable"),
        ("py:a:class", "does not name a callable"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(ModelReferenceError, match=says):
        parse_reference(text)


def test_the_documented_examples() -> None:
    page = Path(__file__).parents[2] / "docs" / "references.md"
    block = page.read_text().split("```text\n")[1].split("```")[0]
    kinds = [parse_reference(line.split()[0]).kind for line in block.splitlines()]
    assert kinds == ["hub", "hub", "directory", "registry", "registry", "file"]


def test_a_file_of_another_kind_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert parse_reference("a.gguf").kind == "directory"  # and not a hub repo
    assert "a kind that is not read" in str(no_such("directory", str(tmp_path / "a.gguf")))
    assert "no such directory" in str(no_such("directory", str(tmp_path / "b.gguf")))
