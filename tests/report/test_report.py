"""The command and what a page holds, without a browser (test_page.py opens pages in one)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_calls import Call, in_process
from documented_fields import documented
from released_pairs import Pairs
from report_contents import HOSTILE, connectivity, curve, gate, release

from zooalign.errors import CheckpointError
from zooalign.release.curves import curves_to_dict
from zooalign.release.results import json_text
from zooalign.report import write_report
from zooalign.report.content import Content
from zooalign.report.html import render
from zooalign.report.limits import MOST_GROUPS, MOST_PAIRS, MOST_PARAMETERS
from zooalign.report.structure import structure_of
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.groups import Block, Frozen, Group, Member


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return in_process(capsys)


def data_of(page: Path | str) -> Any:
    """The JSON that a page's scripts read."""
    text = page.read_text() if isinstance(page, Path) else page
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def written(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json_text(value, indent=1))
    return path


# ------------------------------------------------------------------------------------ releases


def test_a_release(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    assert call("align", *pairs.vit, "-o", str(out), "--method", "weight").code == 0
    done = call("report", str(out), "-o", str(page), "--format", "json")
    assert done.code == 0, done.err
    assert set(done.json) == documented("report")
    assert done.json["ok"] and done.json["bytes"] == page.stat().st_size
    assert not done.json["problems"] and not done.json["left_out"]
    data = data_of(page)
    checked = call("check", str(out), "--format", "json").json
    assert data["gate"] == checked
    spec = json.loads((out / "zooalign/spec.json").read_text())
    recorded = json.loads((out / "zooalign/provenance.json").read_text())
    assert [group["id"] for group in data["structure"]["groups"]] == [
        g["id"] for g in spec["groups"]
    ]
    assert [one["name"] for one in data["structure"]["parameters"]] == list(spec["shapes"])
    moved = [
        (group["moved"][0], group["size"] * group["copies"])
        for group in data["structure"]["groups"]
    ]
    share = sum(share * units for share, units in moved) / sum(units for _, units in moved)
    assert share == pytest.approx(recorded["alignments"][0]["moved_fraction"], abs=1e-4)
    assert sum(reason["axes"] for reason in data["structure"]["reasons"]) == len(spec["frozen"])
    nodes = data["graph"]["nodes"]
    reading = {
        data["structure"]["parameters"][p]["name"] for node in nodes for p in node["parameters"]
    }
    assert {"head.weight", "blocks.0.attn.qkv.weight"} <= reading
    assert all(earlier < n for n, node in enumerate(nodes) for earlier in node["inputs"])
    # The same release gives the same page.
    again = tmp_path / "again.html"
    write_report(str(out), str(again))
    assert again.read_bytes() == page.read_bytes()

    (out / "zooalign/spec.json").unlink()
    (out / "zooalign/barrier.json").write_text('{"version": 1}')
    broken = call("report", str(out), "-o", str(page), "--format", "json")
    assert broken.code == 1 and not broken.json["ok"]
    assert broken.json["groups"] == len(spec["groups"])  # derived anew
    assert any("barrier.json" in problem for problem in broken.json["problems"])
    assert any("spec.json" in problem for problem in broken.json["problems"])


def test_an_operator_carries_the_groups_of_its_units() -> None:
    content = release()
    assert content.structure is not None and content.graph is not None
    names = [group.id for group in content.structure.groups]
    convolutions = [node for node in content.graph.nodes if node.name == "conv2d"]
    carried = [{names[n] for n in node.groups} for node in convolutions]
    stream, inner, back, other_inner, other_back = carried
    assert len(names) == 3 and stream == back == other_back
    assert stream.isdisjoint(inner) and inner.isdisjoint(other_inner)
    [output] = [node for node in content.graph.nodes if node.kind == "output"]
    assert not output.groups and content.graph.nodes[output.inputs[0]].name == "linear"


# ------------------------------------------------------------------------------- measurements


def test_measurements_and_specs(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    folder = tmp_path / "connected"
    folder.mkdir()
    written(folder, "connectivity.json", connectivity())
    for place in (folder, folder / "connectivity.json"):
        body = call("report", str(place), "-o", str(page), "--format", "json").json
        assert (body["kind"], body["ok"], body["groups"], body["curves"]) == (
            *("connectivity", None, None),
            6,
        )
    curves = written(tmp_path, "barrier.json", curves_to_dict([curve(), curve("other", 0.1)]))
    assert write_report(str(curves), str(page)).curves == 2
    printed = {**curve().to_dict(), "curves": [curve().to_dict() | {"label": None}]}
    del printed["curves"][0]["label"]  # as zooalign barrier prints it
    assert write_report(str(written(tmp_path, "b.json", printed)), str(page)).curves == 1
    assert data_of(page)["curves"][0]["label"] == "none"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a.json", "no", "is not JSON"),
        ("a.json", "[]", "is nothing that a report shows"),
        ("a.json", '{"curves": [{"alphas": [0]}]}', "no curves of version 1"),
        ("a.json", '{"curves": 3}', "not a list of curves"),
        (
            "connectivity.json",
            '{"networks": [], "pairs": []}',
            "no report of zooalign connectivity",
        ),
        ("spec.json", '{"groups": [], "shapes": {}}', "not a permutation spec"),
    ],
)
def test_what_is_no_measurement(
    call: Call, tmp_path: Path, name: str, value: str, words: str
) -> None:
    path, page = written(tmp_path, name, value), tmp_path / "page.html"
    done = call("report", str(path), "-o", str(page))
    assert done.code == 2 and words in done.err and not page.exists()


def test_the_place_is_refused_first(call: Call, tmp_path: Path) -> None:
    curves = written(tmp_path, "barrier.json", curves_to_dict([curve()]))
    for name, words in (("page.json", "-o"), ("no/page.html", "no"), (".html", "-o")):
        with pytest.raises(CheckpointError, match=words):
            write_report("./nowhere", str(tmp_path / name))
    refused = call("report", str(curves), "-o", str(tmp_path / "p.html"), "--headers-only")
    assert refused.code == 2 and "options of the gate" in refused.err


# -------------------------------------------------------------------------------------- sizes


def _large(blocks: int) -> PermutationSpec:
    """Of a network of so many blocks with three tensors each, and a stream through all of them."""
    whole = (Block(0, 8, 0, 1),)
    shapes, groups, frozen = {}, [], []
    for n in range(blocks):
        names = [f"blocks.{n}.{name}" for name in ("up.weight", "up.bias", "down.weight")]
        shapes |= {names[0]: (8, 8), names[1]: (8,), names[2]: (8, 8)}
        places = ((names[0], 0), (names[1], 0), (names[2], 1))
        members = tuple(Member(name, axis, (axis,), whole) for name, axis in places)
        groups.append(Group(f"{names[0]}:0", 8, members))
        frozen.append(Frozen(names[2], 0, "output", "the network's output"))
    shapes["embed.weight"] = (8, 8)
    stream = tuple(Member(f"blocks.{n}.up.weight", 1, (1,), whole) for n in range(blocks))
    groups.append(Group("embed.weight:0", 8, (Member("embed.weight", 0, (0,), whole), *stream)))
    return PermutationSpec(shapes, tuple(groups), frozen=tuple(frozen), architecture="large")


def test_a_large_network_gives_a_page_of_a_few_megabytes() -> None:
    blocks = 8_000
    spec = _large(blocks)
    structure, left_out = structure_of(spec, [spec.identity()])
    assert len(structure.groups) == MOST_GROUPS and len(structure.parameters) == MOST_PARAMETERS
    assert structure.group_count == blocks + 1 and structure.parameter_count == 3 * blocks + 1
    # Whatever is left out, one of each kind is there, and sums are of the whole.
    assert "embed.weight:0" in {group.id for group in structure.groups}
    assert structure.reasons[0].axes == blocks
    assert [line.split()[0] for line in left_out[:2]] == [
        str(3 * blocks + 1 - MOST_PARAMETERS),
        str(blocks + 1 - MOST_GROUPS),
    ]
    page = render(Content(kind="spec", title="l", reference="l", version="1", structure=structure))
    assert len(page) < 2_000_000


def test_of_many_pairs_the_worst_are_shown(tmp_path: Path) -> None:
    result = connectivity(20)
    path = written(tmp_path, "connectivity.json", result)
    report = write_report(str(path), str(tmp_path / "page.html"))
    assert report.curves == MOST_PAIRS and report.left_out
    shown = [
        pair["barrier"]["loss"]["over_line"]
        for pair in data_of(tmp_path / "page.html")["connectivity"]["pairs"]
    ]
    hidden = sorted((pair.barrier["loss"].over_line for pair in result.pairs), reverse=True)
    assert min(shown) >= hidden[MOST_PAIRS] - 1e-6


# ------------------------------------------------------------------------------------ strangers


def _texts(value: Any, leave: Callable[[str], None]) -> None:
    if isinstance(value, str):
        leave(value)
    elif isinstance(value, dict):
        for key, entry in value.items():
            leave(key)
            _texts(entry, leave)
    elif isinstance(value, list):
        for entry in value:
            _texts(entry, leave)


def test_no_name_ends_the_script_that_holds_it() -> None:
    page = render(release(HOSTILE))
    assert page.count("<script") == 2 and page.count("</script") == 2
    assert "<img" not in page and page.count("<title>") == 1
    data = data_of(page)  # it is all there, as text
    assert data["title"] == HOSTILE and data["gate"] == gate(HOSTILE)


def test_names_show_what_they_are() -> None:
    turned = "a\u202eb\u2028c\x1b[2J" + "x" * 5000
    seen: list[str] = []
    _texts(data_of(render(release(turned))), seen.append)
    joined = "".join(seen)
    assert "a\\u202eb\\u2028c\\x1b[2J" in joined
    assert not {"\u202e", "\u2028", "\x1b"} & set(joined) and max(map(len, seen)) < 2100
