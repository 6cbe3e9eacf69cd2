"""The demo from training to download, in one folder that appears whole."""

import contextlib
import time
from itertools import count
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from zooalign.demo import digits, training
from zooalign.demo.hub import round_trip
from zooalign.demo.report import (
    AlignFacts,
    DemoReport,
    Downloaded,
    Line,
    MergedScores,
    Network,
    SpecFacts,
)
from zooalign.errors import ZooalignError
from zooalign.gate.check import CheckRequest, check
from zooalign.merging import plot_barrier
from zooalign.pipelines.barrier import barrier_models
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.spec import verify_model
from zooalign.progress import Progress, silent, stage
from zooalign.release import layout
from zooalign.release.curves import curves_from_json
from zooalign.release.layout import json_bytes
from zooalign.release.results import merged_fields
from zooalign.release.settings import (
    BarrierSettings,
    DemoSettings,
    MergeSettings,
    VerifySettings,
)
from zooalign.testing import assert_equivalent
from zooalign.zoo.data import open_data
from zooalign.zoo.files import new_directory
from zooalign.zoo.models import open_model

__all__ = ["DEFAULT_OUTPUT", "run_demo"]

DEFAULT_OUTPUT = "zooalign-demo"
A, B, MERGED, DOWNLOADED = "seed-a", "seed-b", "merged", "downloaded"
PLOTS = ("barrier.svg", "barrier.png")
_NEEDED_BYTES = 50_000_000

_CARD = """---
license: apache-2.0
library_name: timm
tags:
- image-classification
---

A `{architecture}` trained on scikit-learn's handwritten digits from seed {seed} by `zooalign demo`.
"""


def run_demo(
    output: str | None = None,
    settings: DemoSettings | None = None,
    *,
    progress: Progress = silent,
) -> DemoReport:
    """Train, align, merge, check, publish and download; write everything to one folder.

    The working directory of the process is changed while it runs, so that records hold no path
    of this machine, and torch is kept to one thread an operation.

    Parameters
    ----------
    output:
        A folder that is not there yet, or is empty; default: the first free one of
        ``zooalign-demo``, ``zooalign-demo-2``, ...
    settings:
        The networks are trained from the seeds ``2 * settings.seed`` and the next.

    Raises
    ------
    ZooalignError
        If scikit-learn or matplotlib is not installed, or something fails. Nothing is left behind.
    """
    start = time.perf_counter()
    digits.require_extras()
    settings = settings or DemoSettings()
    if settings.seed < 0:
        raise ZooalignError(f"the seed is {settings.seed}; give 0 or more")
    target = Path(output or _free(DEFAULT_OUTPUT))
    place = new_directory(target, needed=_NEEDED_BYTES, dry_run=settings.dry_run)
    with place as folder, training.one_thread():
        with contextlib.chdir(folder):
            report = _run(settings, str(target), start, progress)
        (folder / "demo.json").write_bytes(json_bytes(report))
    return report


def _free(name: str) -> str:
    """The first of ``name``, ``name-2``, ... that is not there."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(name for name in names if not Path(name).exists())


def _run(settings: DemoSettings, output: str, start: float, progress: Progress) -> DemoReport:
    seed, alphas = settings.seed, settings.alphas
    rows = digits.write_digits(Path())
    parameters = _train((2 * seed, 2 * seed + 1), settings.epochs, progress)
    progress("verify the symmetries", 0, 1)
    spec, verification = verify_model(f"./{A}", VerifySettings(seed=seed))
    calibration = _calibration(settings)
    before = barrier_models(
        f"./{A}",
        f"./{B}",
        BarrierSettings(data=digits.TEST, calibration=calibration, alphas=alphas, seed=seed),
        progress=progress,
    ).measured
    merge_command = (
        f"zooalign merge ./{A} ./{B} -o {MERGED} --data '{calibration}' "
        f"--evaluate {digits.TEST} --alphas {alphas} --seed {seed}"
    )
    merged = merge_models(
        [f"./{A}", f"./{B}"],
        MERGED,
        MergeSettings(data=calibration, evaluate=digits.TEST, alphas=alphas, seed=seed),
        command=merge_command,
        progress=progress,
    )
    # The aligned curve, and that of the networks as they are.
    after, _ = curves_from_json(Path(MERGED, layout.BARRIER).read_text(encoding="utf-8"))
    for name in PLOTS:
        plot_barrier({"as they are": before, "aligned": after}, name)
    request = CheckRequest(parents=(f"./{A}", f"./{B}"))
    gate = check(f"./{MERGED}", request, progress=progress)
    progress("publish and download", 0, 1)
    hub = round_trip(MERGED, "digits-merged", DOWNLOADED)
    error, accuracy = _compare(_loaded(MERGED), _loaded(DOWNLOADED))
    record, symmetries = merged.provenance, spec.derived.spec
    assert before.accuracy is not None
    assert record.score is not None and record.score.accuracy is not None
    return DemoReport(
        ok=verification.ok and gate.ok and hub.verified and hub.same_bytes and error == 0,
        output=output,
        seed=seed,
        architecture=training.ARCHITECTURE,
        parameters=parameters,
        rows=rows,
        networks=(Network(A, before.accuracy[0]), Network(B, before.accuracy[-1])),
        spec=merged_fields(
            SpecFacts,
            verification,
            {"groups": len(symmetries.groups), "hash": symmetries.hash},
        ),
        align=merged_fields(AlignFacts, record.alignments[0], {"method": record.method}),
        before=Line.of(before),
        after=Line.of(after),
        merged=MergedScores(MERGED, record.score.accuracy, record.statistics),
        check=gate,
        published=hub,
        downloaded=Downloaded(DOWNLOADED, error, accuracy),
        plots=PLOTS,
        commands=_commands(settings, merge_command, hub.repo),
        seconds=time.perf_counter() - start,
    )


def _calibration(settings: DemoSettings) -> str:
    return f"{digits.TRAIN}?slice=0:{settings.calibration}"


def _commands(settings: DemoSettings, merge_command: str, repo: str) -> tuple[str, ...]:
    """The command lines that do the steps one by one."""
    return (
        f"zooalign verify ./{A} --seed {settings.seed}",
        f"zooalign barrier ./{A} ./{B} --data {digits.TEST} "
        f"--calibration '{_calibration(settings)}' --alphas {settings.alphas}",
        merge_command,
        f"zooalign check ./{MERGED} --parent ./{A} --parent ./{B}",
        f"zooalign publish {MERGED} --to {repo}",
    )


def _train(seeds: tuple[int, int], epochs: int, progress: Progress) -> int:
    """Train and save both networks; the number of parameters of one."""
    networks = [training.make_network(seed) for seed in seeds]

    def save() -> None:
        for network, name, seed in zip(networks, (A, B), seeds, strict=True):
            card = _CARD.format(architecture=training.ARCHITECTURE, seed=seed)
            training.save(network, Path(name), card=card)

    save()  # the saved configuration says how images are prepared
    images, labels = _tensors(digits.TRAIN)
    training.train(
        networks, seeds, images, labels, epochs=epochs, progress=stage(progress, "train")
    )
    save()
    return sum(parameter.numel() for parameter in networks[0].parameters())


def _tensors(name: str) -> tuple[Tensor, Tensor]:
    """Images preprocessed as the saved networks' configuration says, and labels."""
    model = open_model(f"./{A}")
    preprocess = model.adapter.preprocess(model.architecture)
    data = open_data(name, preprocess=preprocess, batch_size=256)
    batches = [(inputs[0], targets) for inputs, targets in data if targets is not None]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def _loaded(name: str) -> nn.Module:
    """A directory as timm loads it."""
    network: nn.Module = timm.create_model(f"local-dir:{Path(name).absolute()}", pretrained=True)
    return network.eval()


def _compare(ours: nn.Module, theirs: nn.Module) -> tuple[float, float]:
    """Relative error between two networks' outputs on the test digits; the second's accuracy."""
    images, labels = _tensors(digits.TEST)
    error = assert_equivalent(ours, theirs, images)
    with torch.no_grad():
        right = theirs(images).argmax(1) == labels
    return error, float(right.double().mean())
