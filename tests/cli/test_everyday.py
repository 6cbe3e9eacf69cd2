"""What a person meets every day: what is wrong is said, and what is silent is right."""

import io
import json
from pathlib import Path

import click
import pytest
import torch
from cli_calls import Call, listing
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from documented_fields import documented
from everyday_nets import write_networks
from rich.console import Console
from rich.progress import Progress
from served_hub import served_hub

from zooalign.cli import main
from zooalign.cli._output import drawn_on
from zooalign.release.card import make_card
from zooalign.release.provenance import Provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder)
    return folder


@pytest.fixture(autouse=True)
def work(networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the networks in it."""
    for path in networks.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pair(name: str) -> list[str]:
    """Both seeds of a network, and the option that says what they are."""
    files = [f"{name}{seed}.safetensors" for seed in (0, 1)]
    return [*files, "--model", f"py:everyday_nets:{name}?input=6"]


MLP = "py:everyday_nets:mlp?input=6"
PAIR = " ".join(pair("mlp"))
CLASSES = ["--data", "py:everyday_nets:classes"]
COPIES = ["--data", "py:everyday_nets:copies"]


# Completion, help and progress


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_completion(shell: type[ShellComplete], monkeypatch: pytest.MonkeyPatch) -> None:
    completion = shell(main, {}, "zooalign", "_ZOOALIGN_COMPLETE")
    assert "_ZOOALIGN_COMPLETE" in completion.source()

    def completed(*words: str) -> set[str]:
        *given, incomplete = words
        items = completion.get_completions(given, incomplete)
        return {item.value if item.type == "plain" else item.type for item in items}

    assert completed("al") == {"align"}
    assert {"--loss", "--metric", "--weights"} <= completed("merge", "--")
    assert completed("merge", "--format", "j") == {"json"}
    assert completed("merge", "./ru") == completed("barrier", "--data", "x") == {"file"}


def test_a_stage_without_a_total_shows_none() -> None:
    """An unknown number of steps is not the last stage's number."""
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as bar:
        report = drawn_on(bar)
        report("open", 0, 1)
        report("activation matching", 11, 0)
        (task,) = bar.tasks
    assert (task.description, task.completed, task.total) == ("activation matching", 11, None)


# Releases of one's own code


def test_a_release_of_ones_own_code_is_reproduced(call: Call) -> None:
    done = call("align", *pair("mlp"), "-o", "aligned", "--method", "activation", *CLASSES)
    assert done.code == 0, done.err
    refused = call("reproduce", "aligned")
    assert refused.code == 2 and "--allow-code" in refused.err
    again = call("reproduce", "aligned", "--allow-code")
    assert again.code == 0, again.out + again.err
    assert "the same bytes" in again.out
    card = Path("aligned/README.md").read_text()
    assert "None rows" not in card and "all rows it gives" in card
    applied = call("apply", pair("mlp")[1], "./aligned", "-o", "again", *pair("mlp")[2:])
    assert applied.code == 0, applied.err


def test_a_limit_of_rows_is_on_the_card(call: Call) -> None:
    limited = ("--method", "activation", "--limit", "20", *CLASSES)
    assert call("align", *pair("mlp"), "-o", "limited", *limited).code == 0
    text = Path("limited/zooalign/provenance.json").read_text()
    card = make_card(Provenance.from_json(text), title="x", library="py")
    assert "at most 20 rows" in card


def test_a_pull_request_without_a_change_is_not_published(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("align", *pair("mlp"), "-o", "out", "--method", "weight").code == 0
    publish = ("publish", "./out", "--to", "tester/mlp", *pair("mlp")[2:])
    with served_hub(monkeypatch, tmp_path / "cache"):
        first = call(*publish, "--format", "json")
        assert first.code == 0 and not first.json["unchanged"], first.err
        again = call(*publish, "--pr")
        assert again.code == 0 and "no pull request was opened" in again.out
        assert "published:" not in again.out
        assert call(*publish, "--format", "json").json["unchanged"]


# Numbers that were silently wrong


def test_an_autoencoder_is_scored_by_its_task(call: Call) -> None:
    barrier = ("barrier", *pair("autoencoder"), *COPIES, "--alphas", "3", "--format", "json")
    done = call(*barrier)
    assert done.code == 0, done.err
    assert done.json["measures"] == ["mse"] and done.json["accuracy"] is None
    assert min(done.json["loss"]) > 0
    wrong = call(*barrier, "--loss", "cross-entropy")
    assert wrong.code == 2 and "--loss mse" in wrong.json["error"]["message"]
    merge = ("merge", *pair("autoencoder"), "-o", "m", *COPIES, "--format", "json")
    chosen = call(*merge)  # the candidates of auto are judged by the squared error
    assert chosen.code == 0 and chosen.json["aligned"][0]["objective_after"] < 0


def test_targets_that_fit_nothing_are_refused(call: Call) -> None:
    done = call("barrier", *pair("autoencoder"), *CLASSES, "--loss", "mse", "--format", "json")
    assert done.code == 2 and "--loss" in done.json["error"]["message"]
    copies = call("barrier", *pair("autoencoder"), *COPIES, "--metric", "accuracy")
    assert copies.code == 2 and "have no accuracy" in copies.err and "--metric mse" in copies.err
    misspelt = call("barrier", *pair("mlp"), *CLASSES, "--metric", "acuracy")
    assert misspelt.code == 2 and "did you mean accuracy?" in misspelt.err


def test_a_metric_says_which_way_is_better(call: Call) -> None:
    barrier = ("barrier", *pair("mlp"), *CLASSES, "--alphas", "3", "--format", "json")
    own = "py:everyday_nets:absolute"
    refused = call(*barrier, "--metric", own)
    assert refused.code == 2 and "better=lower" in refused.json["error"]["message"]
    done = call(*barrier, "--metric", f"{own}?better=lower")
    assert done.code == 0 and done.json["accuracy"] is None and min(done.json["error"]) > 0
    assert done.json["measures"] == ["cross-entropy", "absolute"]
    perplexity = call(*barrier, "--metric", "perplexity").json
    assert torch.tensor(perplexity["loss"]).exp().allclose(torch.tensor(perplexity["error"]))


def test_poor_statistics_of_the_ends_are_said(call: Call) -> None:
    data = ["--data", "py:everyday_nets:classes?scale=9"]
    done = call("barrier", *pair("normalised"), *data, "--alphas", "3")
    assert done.code == 0 and "running statistics fit this data badly" in done.err
    kept = call("barrier", *pair("normalised"), *data, "--alphas", "3", "--no-reset")
    assert kept.code == 0 and kept.err == ""


def test_what_is_changed_is_said(call: Call) -> None:
    merge = ("merge", *pair("mlp"), "-o", "m", "--overwrite", "--method", "weight", *CLASSES)
    rescaled = call(*merge, "--weights", "0.3,0.6")
    assert rescaled.code == 0 and "sum to 0.9" in rescaled.err
    assert call(*merge, "--weights", "1,2").err == ""
    optimistic = call(*merge, "--evaluate", CLASSES[1])
    assert "optimistic" in optimistic.err
    assert call(*merge, "--evaluate", f"{CLASSES[1]}?seed=1").err == ""


# Names that are nearly right


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("spec ./nets.py:net", "py:nets:net"),
        ("spec lib/nets.py:net?width=3", "py:lib.nets:net?width=3"),
        ("spec resnet18", "did you mean timm:resnet18 or torchvision:resnet18?"),
        ("spec resnet81?num_classes=3", "timm:resnet18?num_classes=3"),
        ("spec ./runs/sed0", "did you mean ./runs/seed0?"),
        ("spec runs/sed0", "did you mean ./runs/seed0?"),
        ("check sed0", "did you mean ./seed1?"),
        ("spec mlp0.safetensor", "./mlp0.safetensors"),
        ("spec py:everyday_nets:mpl", "did you mean mlp?"),
        ("spec py:everyday_nets:mlp?inptu=6", "has no argument 'inptu'"),
        ("spec timm:resnet18?num_class=3", "did you mean num_classes=?"),
        ("spce x", "Did you mean spec?"),
        ("spec mlp0.safetensors", "--model"),
        ("merge ./pickled ./pickled -o x --method weight", "--allow-pickle"),
        ("spec model.pth", "--allow-pickle"),
    ],
)
def test_what_it_probably_was(
    call: Call, work: Path, arguments: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("runs/seed0", "seed1", "pickled"):
        (work / folder).mkdir(parents=True)
    for name in ("pickled/model.pth", "model.pth"):
        (work / name).write_bytes(b"")
    with served_hub(monkeypatch, work / "cache"):
        done = call(*arguments.split())
    assert done.code == 2 and says in done.err, done.err


def test_all_ways_to_align_are_in_the_help(call: Call) -> None:
    text = " ".join(call("barrier", "--help").out.split())
    assert all(name in text for name in ("none|", "auto", "frank-wolfe", "learned"))


def test_auto_says_which_method_won(call: Call) -> None:
    merge = ("merge", *pair("mlp"), "-o", "m", *CLASSES)
    done = call(*merge)
    assert done.code == 0, done.err
    record = json.loads(Path("m/zooalign/provenance.json").read_text())
    details = record["alignments"][0]["details"]
    losses = {n.removeprefix("loss_of_"): v for n, v in details.items() if n.startswith("loss_of_")}
    best = details["best_candidate"]
    assert f"auto chose {best}; loss by candidate: " in done.out and len(losses) == 6
    assert all(f"{name} {loss:.4f}" in done.out for name, loss in losses.items())
    after = f"{losses[best]:.4f} (lower is better)"
    assert after in done.out and after in Path("m/README.md").read_text()
    weight = call(*merge, "--method", "weight", "--overwrite")
    assert "agreement of the weights" in weight.out and "(higher is better)" in weight.out


def test_several_methods_in_one_plot(call: Call) -> None:
    barrier = ("barrier", *pair("mlp"), *CLASSES, "--alphas", "3", "--align", "none,activation")
    done = call(*barrier, "--plot", "both.svg", "--format", "json")
    assert done.code == 0, done.err
    assert [curve["align"] for curve in done.json["curves"]] == ["none", "activation"]
    assert done.json["loss"] == done.json["curves"][1]["loss"]
    table = call(*barrier).out
    assert "none" in table and "activation matching" in table
    assert call(*barrier, "--align", "none,activashun").code == 2


# On the side: how much is told, where defaults come from, what is not written


def test_quiet_verbose_and_a_log(call: Call) -> None:
    merge = ("merge", *pair("mlp"), "-o", "m", "--overwrite", "--method", "weight")
    loud = ("--weights", "0.3,0.6", "--log-file", "log.txt", *CLASSES)
    assert "warning:" in call(*merge, *loud).err
    assert call(*merge, *loud, "-q").err == ""
    assert "proof: " in call(*merge, *loud, "-v").err
    assert call("-q", *merge, "--evaluate", "none.npz").err.startswith("error:")
    log = Path("log.txt").read_text()
    assert log.count("start   zooalign merge mlp0") == 3 and log.count("exit code 0") == 3
    assert log.count("warning the weights sum to 0.9") == 3 and "time    write: " in log
    refused = call(*merge, "--log-file", "no/where.txt")
    assert refused.code == 2 and "no/where.txt" in refused.err
    assert call("-V").out == call("--version").out != ""


def test_no_colours(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = ("plugins", "--no-color")
    assert "\x1b[3" not in call(*arguments).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in call("plugins").out + call("plgins").err


def test_defaults_from_a_file(call: Call, work: Path) -> None:
    project = work / "pyproject.toml"
    project.write_text(
        "[tool.zooalign.defaults]\nseed = 7\n[tool.zooalign.defaults.merge]\nmethod = 'weight'\n"
    )
    merge = ("merge", *pair("mlp"), "-o", "m", "--overwrite", "--format", "json")
    assert call(*merge).json["method"] == "weight"
    record = json.loads(Path("m/zooalign/provenance.json").read_text())
    assert record["seed"] == 7 and record["command"].endswith("--method weight --seed 7")
    assert call(*merge, "--method", "none").json["method"] == "none"
    assert "[default: weight]" in " ".join(call("merge", "--help").out.split())
    for text, says in (
        ("[tool.zooalign.defaults]\nsed = 7", "did you mean seed?"),
        ("[tool.zooalign.defaults.marge]\nseed = 7", "did you mean merge?"),
        ("[tool.zooalign.defaults.merge]\nmembers = 7", "no option --members"),
        ("[tool.zooalign.defaults]\nallow-pickle = true", "only a command line may"),
        ("[tool.zooalign.defaults]\ndata = 'py:evil:code'", "only a command line may"),
    ):
        project.write_text(text)
        refused = call(*merge)
        assert refused.code == 2 and says in refused.err, refused.err


def test_a_dry_run_writes_nothing(call: Call, work: Path) -> None:
    before = listing(work)
    for command in ("align", "merge"):
        arguments = (command, *pair("mlp"), "-o", "out", "--method", "weight", "--dry-run")
        done = call(*arguments, "--format", "json")
        assert done.code == 0 and done.json["dry_run"], done.err
        assert set(done.json) == documented(command)
        assert "was not written" in call(*arguments).out and listing(work) == before
    assert call("align", *pair("mlp"), "-o", "out", "--method", "weight").code == 0
    before = listing(work)
    applied = call("apply", pair("mlp")[1], "./out", "-o", "again", *pair("mlp")[2:], "--dry-run")
    assert applied.code == 0 and "every one of 4 tensors" in applied.out
    assert listing(work) == before


def test_every_command_that_writes_has_a_dry_run() -> None:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        flags = {flag for parameter in command.params for flag in parameter.opts}
        writes = flags & {"--output", "--plot", "--graph", "--to"}
        # A check's -o is where its report goes, a plan's where another command would write.
        assert ("--dry-run" in flags) == bool(writes and name not in ("check", "plan")), name


@pytest.mark.parametrize(
    "command",
    [
        f"spec {MLP} -o spec.json --graph graph.graphml",
        f"barrier {PAIR} --data py:everyday_nets:classes --alphas 3 --plot curve.svg",
        f"connectivity {PAIR} --data py:everyday_nets:classes --alphas 2 --steps 1 -o report",
        "coverage --filter test_resnet -o sweep.jsonl",
        "new-plugin keras",
    ],
)
def test_a_dry_run_of_other_commands(call: Call, work: Path, command: str) -> None:
    before = listing(work)
    done = call(*command.split(), "--dry-run")
    assert done.code == 0 and "dry run" in done.out, done.err
    parsed = call(*command.split(), "--dry-run", "--format", "json").json
    assert set(parsed) == documented(command.split()[0]) and listing(work) == before
    for name in ("output", "plot"):
        assert not parsed.get(name)
    assert parsed.get("to_examine", ["timm:test_resnet"]) == ["timm:test_resnet"]


def test_a_dry_run_refuses_what_would_be_refused(call: Call, work: Path) -> None:
    (work / "report").mkdir()
    (work / "report" / "notes.txt").touch()
    data = ("--data", "py:everyday_nets:classes", "--alphas", "2", "--steps", "1")
    done = call("connectivity", *pair("mlp"), *data, "-o", "report", "--dry-run")
    assert done.code == 2 and "not empty" in done.err
    assert call("new-plugin", "timm", "--dry-run").code == 2


def test_tables_fit_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    barrier = ("barrier", *pair("mlp"), *CLASSES, "--alphas", "3", "--align", "none,weight")
    table = [line for line in call(*barrier).out.splitlines() if line[:1] in "┏┃┡│└"]
    assert table and max(map(len, table)) <= 60
