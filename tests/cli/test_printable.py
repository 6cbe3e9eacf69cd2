"""Names from strangers reach the terminal escaped, and JSON keeps their value."""

import io
import json
import sys
from pathlib import Path

import pytest
from cli_calls import Call
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from zooalign.cli import _output
from zooalign.text import escape_json, printable

EVIL = "a\x1b[2J\rb\u202egpj.exe\x9b31m\x07\u200b"


def harmless(text: str) -> bool:
    return not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in text) and (
        "\u202e" not in text and "\u200b" not in text
    )


@pytest.mark.slow
@given(st.text())
def test_printable_is_harmless_and_json_is_the_same(text: str) -> None:
    assert harmless(printable(text, keep="\n\t"))
    assert "\n" not in printable(text)
    written = escape_json(json.dumps({text: text}, ensure_ascii=False, indent=1))
    assert harmless(written) and json.loads(written) == {text: text}


def test_ordinary_names_stay() -> None:
    assert printable("layer.0.weight Größe 模型") == "layer.0.weight Größe 模型"
    assert printable("a\nb\ud800") == r"a\x0ab\ud800"
    assert len(printable("x" * 10**6, most=4000)) == 4001
    assert printable("a\x1b[0m") == "a\\x1b[0m" and printable("\u202e") == "\\u202e"


def test_tables_lines_and_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console = _output.console()
    table = Table("name", EVIL.replace("[", "\\["))
    table.add_row(EVIL.replace("[", "\\["), "x")
    console.print(table)
    console.print(EVIL.replace("[", "\\["))
    assert harmless(out.getvalue()) and out.getvalue().count("\\x1b") == 3
    _output.print_note("error", f"{EVIL}\nerror: nothing is wrong")
    err = capsys.readouterr().err
    assert harmless(err) and "\n  error: nothing" in err


def test_a_command_with_such_a_name(call: Call, tmp_path: Path) -> None:
    done = call("check", f"./{EVIL}", "--format", "json")
    assert done.code == 2 and harmless(done.out) and harmless(done.err)
    assert (
        EVIL in done.json["error"]["message"] or repr(EVIL)[1:-1] in done.json["error"]["message"]
    )
