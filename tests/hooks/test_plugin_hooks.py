"""What plugins add to the release: used, listed, and loud where it fails."""

import json
from pathlib import Path

import pytest
import torch
from installed_plugins import Install
from released_pairs import Pairs

import zooalign
from zooalign.cli import main
from zooalign.errors import MergeError, ZooalignError
from zooalign.gate.check import check
from zooalign.gate.checks import BUILT_IN, all_checks
from zooalign.gate.plugin_states import plugin_states
from zooalign.hooks import manager as plugins
from zooalign.hooks.manager import PluginError
from zooalign.matching.solvers import built_in, solvers
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

HEAD = "from zooalign.plugins import hookimpl\n"
CHECKS = (
    HEAD
    + '''
from zooalign.plugins import Problem, check

@check("team.notes", "there are no notes", fix="remove it")
def notes(release):
    """A release holds no notes."""
    for name in release.names:
        if name.endswith("notes.txt"):
            yield Problem(name, "is a note")

@hookimpl
def zooalign_checks():
    return [notes]
'''
)
SOLVER = (
    HEAD
    + '''
from dataclasses import dataclass
from zooalign.plugins import Match, MatchProblem, Solver, option

@dataclass(frozen=True, kw_only=True)
class Reversed(Solver):
    """Units in reverse order; a stand-in for a method."""

    name = "reversed"
    most: int = option(1000, "units of a group up to which it is reversed")
    ends: str = option("both", "an option with choices", choices=("both", "one"))

    def solve(self, problem: MatchProblem) -> Match:
        spec = problem.spec
        indices = {
            g.id: (index[..., ::-1].copy() if g.size <= self.most else index)
            for g in spec.groups for index in [spec.identity().indices[g.id]]
        }
        permutation = type(spec.identity())(spec.hash, indices)
        return Match(permutation, self.name, 0.0, 1.0, {"most": self.most})

@hookimpl
def zooalign_solvers():
    return [Reversed]
'''
)


LIBRARY = (
    HEAD
    + """
import json, tempfile
from pathlib import Path
import torch
from zooalign.zoo.timm_adapter import TimmAdapter

class Careless(TimmAdapter):
    '''A library whose loader changes what it loads.'''
    name = "careless"

    def recognise(self, config, names):
        inner = config.get("careless")
        return None if inner is None else super().recognise(inner, names)

    def load(self, directory):
        with tempfile.TemporaryDirectory() as folder:
            config = json.loads((directory / "config.json").read_text())["careless"]
            Path(folder, "config.json").write_text(json.dumps(config))
            content = (directory / "model.safetensors").read_bytes()
            Path(folder, "model.safetensors").write_bytes(content)
            module = super().load(Path(folder))
        with torch.no_grad():
            module.head.bias += CHANGE
        return module

@hookimpl
def zooalign_library_adapters():
    return [Careless()]
"""
)


pytestmark = pytest.mark.usefixtures("no_installed_plugins")


def test_a_check(install_plugin: Install, pairs: Pairs, tmp_path: Path) -> None:
    install_plugin("team", CHECKS)
    out = tmp_path / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    report = check(str(out))
    assert "team.notes" in report.checks and report.ok
    (out / "notes.txt").write_text("x")
    report = check(str(out))
    assert [f.where for f in report.findings if f.id == "team.notes"] == ["notes.txt"]
    assert not report.ok


def test_a_solver(
    install_plugin: Install, pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("solver", SOLVER)
    assert set(solvers()) - set(built_in()) == {"reversed"}
    out = str(tmp_path / "out")
    words = ["align", *pairs.vit, "--method", "reversed", "-o", out, "--format", "json"]
    assert main([*words, "--set", "most=1000"], standalone_mode=False) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["method"] == "reversed" and report["moved_fraction"] > 0.9
    # It is a permutation of the second model, not of the first.
    assert main(["verify", out], standalone_mode=False) == 0
    capsys.readouterr()
    assert main([*words, "--set", "mots=3", "--overwrite"], standalone_mode=False) == 2
    error = capsys.readouterr().err
    assert "no option 'mots'; did you mean 'most'? it has ends, most" in error
    assert main([*words, "--set", "most=x", "--overwrite"], standalone_mode=False) == 2
    assert "most is 'x'; it takes a value of type int" in capsys.readouterr().err
    assert main([*words, "--set", "ends=none", "--overwrite"], standalone_mode=False) == 2
    assert "there are 'both' and 'one'" in capsys.readouterr().err


def test_a_solver_in_the_help_and_in_python(
    install_plugin: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("solver", SOLVER)
    assert main(["align", "--help"], standalone_mode=False) == 0
    text = capsys.readouterr().out
    assert "|reversed" in text and "reversed: ends, most" in " ".join(text.split())
    model, other = (torch.nn.Sequential(*_layers(seed)) for seed in (0, 1))
    inputs = torch.zeros(2, 3)
    aligned = zooalign.align(model, to=other, example_inputs=inputs, method="reversed", most=4)
    assert aligned.match.details["most"] == 4
    assert aligned.match.permutation.indices["0.weight:0"].tolist() == [3, 2, 1, 0]
    with pytest.raises(MergeError, match="did you mean 'most'"):
        zooalign.align(model, to=other, example_inputs=inputs, method="reversed", mots=4)


def _layers(seed: int) -> list[torch.nn.Module]:
    torch.manual_seed(seed)
    return [torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)]


@pytest.mark.parametrize("change", [0.0, 1e-3])
def test_a_library_that_loads_another_function(
    install_plugin: Install, pairs: Pairs, tmp_path: Path, change: float
) -> None:
    install_plugin("careless", LIBRARY.replace("CHANGE", str(change)))
    out = tmp_path / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({"careless": config}))
    report = check(str(out))
    assert "loads.library" in report.checks
    found = [f.message for f in report.failures]
    assert len(found) == (change > 0)
    assert all("careless loads another function: relative error" in message for message in found)


def test_rules(install_plugin: Install) -> None:
    install_plugin(
        "rules",
        HEAD + "import zooalign.operators.view as module\n"
        "@hookimpl\ndef zooalign_operators(): return [module]",
    )
    state = next(s for s in plugin_states() if s.name == "rules")
    assert state.provides == ("operators zooalign.operators.view",) and state.error is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (HEAD + "@hookimpl\ndef zooalign_checks(): 1 / 0", "ZeroDivisionError: division by zero"),
        (HEAD + "@hookimpl\ndef zooalign_checks(): return [3]", "3 is not a zooalign.gate"),
        (HEAD + "@hookimpl\ndef zooalign_checks(): return 3", "TypeError: 'int' object is not"),
        (CHECKS.replace("team.notes", "weights.finite"), "'weights.finite' is built in"),
        (
            SOLVER.replace("[Reversed]", "[len]"),
            "not a subclass of zooalign.matching.Solver",
        ),
        (SOLVER.replace('"reversed"', '"weight"'), "a method named 'weight' is there already"),
        (HEAD + "@hookimpl\ndef zooalign_operators(): return ['x']", "'x' is not a module"),
    ],
)
def test_a_hook_that_fails_stops_and_is_named(
    install_plugin: Install, pairs: Pairs, code: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("bad", code)
    words = ["check", pairs.vit[0]] if "zooalign_checks" in code else ["spec", pairs.vit[0]]
    if "zooalign_solvers" in code:
        words = ["align", *pairs.vit, "--method", "weight", "-o", "out"]
    assert main(words, standalone_mode=False) == 2
    err = capsys.readouterr().err
    assert "plugin 'bad' (dist-bad) fails in zooalign_" in err and says in err
    assert "bug in zooalign" not in err
    assert main(["plugins", "--format", "json"], standalone_mode=False) == 1
    listed = {p["name"]: p for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert says in listed["bad"]["error"] and listed["timm"]["error"] is None


def test_the_list(install_plugin: Install, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin("team", CHECKS)
    install_plugin("other", "raise RuntimeError('never imported')")
    monkeypatch.setenv(plugins.ALLOW_LIST, "team")
    assert main(["plugins", "--format", "json"], standalone_mode=False) == 0
    listed = {p["name"]: p for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert listed["team"]["provides"] == ["check team.notes"]
    assert listed["team"]["module"].startswith("zooalign_test_plugin_team")
    assert listed["other"]["left_out"] and listed["other"]["error"] == "not in ZOOALIGN_PLUGINS"
    assert "library timm" in listed["timm"]["provides"]
    assert main(["plugins"], standalone_mode=False) == 0
    out = capsys.readouterr().out
    assert "team.notes" in out and "ZOOALIGN_PLUGINS" in out  # on lines of any length


def test_it_is_an_error_of_ours() -> None:
    assert issubclass(PluginError, ZooalignError) and all_checks() == BUILT_IN
