"""Fuzz the parsers: inputs tried, accepted, refused; crashes must be 0.

    python docs/benchmarks/fuzz_parsers.py --seconds 60            # all parsers, a minute each
    python docs/benchmarks/fuzz_parsers.py --only spec --seconds 600

With atheris installed (``pip install atheris``), its coverage-guided engine is used, on
instrumented zooalign code; else a plain mutation of the seeds, which finds less. An input that
crashes is kept in the working directory as ``crash-PARSER``. Exit code 1 if there is one.
"""

import argparse
import copy
import importlib.util
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def _run(name: str, seconds: float, seed: int, send: Any) -> None:
    """Fuzz one parser in this process and send the counts."""
    if HAS_ATHERIS:
        import atheris

        with atheris.instrument_imports(include=["zooalign", "fuzz_targets"]):
            import fuzz_targets
    else:
        import fuzz_targets
    target, end = fuzz_targets.TARGETS[name], time.monotonic() + seconds
    counts = {"parser": name, "inputs": 0, "accepted": 0, "refused": 0, "crashes": 0}

    def done() -> None:
        send.send({**counts, "engine": "atheris" if HAS_ATHERIS else "mutation"})
        send.close()
        fuzz_targets.clean()
        os._exit(1 if counts["crashes"] else 0)

    def one(data: bytes) -> None:
        counts["inputs"] += 1
        try:
            counts["accepted" if target(data) else "refused"] += 1
        except BaseException as error:
            if fuzz_targets.allowed(error):
                counts["refused"] += 1
            else:
                counts["crashes"] += 1
                Path(f"crash-{name}").write_bytes(data)
                traceback.print_exc()
                done()
        if time.monotonic() > end:
            done()

    if HAS_ATHERIS:
        # Among the files of the inputs, which are removed at the end.
        corpus = Path(tempfile.mkdtemp(prefix="corpus-", dir=fuzz_targets.FOLDER))
        for number, content in enumerate(fuzz_targets.SEEDS[name]):
            (corpus / str(number)).write_bytes(content)
        words = [sys.argv[0], str(corpus), f"-seed={seed}", "-max_len=20000", "-verbosity=0"]
        words += ["-timeout=20", "-rss_limit_mb=4096", f"-artifact_prefix={corpus.parent}/"]
        atheris.Setup(words, one, custom_mutator=_guided)
        atheris.Fuzz()
        done()
    chance = random.Random(seed)
    while True:
        change = _mutated if chance.random() < 0.4 else _structured
        one(change(chance.choice(fuzz_targets.SEEDS[name]), chance))


def _guided(data: bytes, max_size: int, seed: int) -> bytes:
    """For atheris: its own mutation, or one that keeps JSON (and a header's length) intact."""
    import atheris

    chance = random.Random(seed)
    if chance.random() < 0.4:
        return bytes(atheris.Mutate(data, max_size))
    return _structured(data, chance)[:max_size]


def _structured(data: bytes, chance: random.Random) -> bytes:
    """Another value somewhere in the JSON; in a safetensors file the length is put right."""
    prefix, text, rest = b"", data, b""
    if len(data) >= 8 and (length := int.from_bytes(data[:8], "little")) <= len(data) - 8:
        prefix, text, rest = data[:8], data[8 : 8 + length], data[8 + length :]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _mutated(data, chance)
    for _ in range(chance.randint(1, 3)):
        value = _changed(value, chance)
    text = json.dumps(value).encode()
    return (len(text).to_bytes(8, "little") + text + rest) if prefix else text


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            value.pop(key)
        else:
            value[key] = _changed(value[key], chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        if chance.random() < 0.15:
            value.insert(at, copy.deepcopy(value[chance.randrange(len(value))]))
        elif chance.random() < 0.15:
            del value[at]
        else:
            value[at] = _changed(value[at], chance)
        return value
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 2, 1000))
    return copy.deepcopy(chance.choice(_VALUES))


_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 7, 2**31, 2**63, 2**64, 10**30, 0.5, 1e308, float("inf")),
    *(float("nan"), "", "x", "../x", "a.weight", "\x1b", "\ud800", [], {}, [[]], [0], [1, 0]),
    *("\ud800.safetensors", "a" * 300 + ".safetensors"),
    *([0] * 70, {"": None}, [2**40] * 40, "b.safetensors", "a.bias"),
)
_PIECES = (
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"true",
    b'""',
    b"[]",
    b"{}",
    b"9" * 25,
    b"0.5",
    b"\xff",
)


def _mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, doubled, cut, or replaced by another JSON value."""
    found = bytearray(content)
    for _ in range(chance.randint(0, 6)):
        at = chance.randrange(len(found) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 30))
        kind = chance.randrange(4)
        if kind == 0:
            found[at : at + length] = chance.randbytes(length)
        elif kind == 1:
            found[at:at] = found[at : at + length * 3]
        elif kind == 2:
            del found[at : at + length]
        else:
            found[at : at + length] = chance.choice(_PIECES)
    return bytes(found)


def main() -> int:
    """Fuzz and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each parser")
    parser.add_argument("--only", action="append", help="a parser; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    names = args.only or [
        "spec",
        "permutation",
        "provenance",
        "header",
        "index",
        "card",
        "curves",
        "sniff",
    ]
    failed = False
    print("| parser | engine | inputs | accepted | refused | crashes |\n|---|---|---|---|---|---|")
    for name in names:
        receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(
            target=_run, args=(name, args.seconds, args.seed, send)
        )
        child.start()
        send.close()
        try:
            counts = receive.recv()
        except EOFError:
            counts = {"parser": name, "engine": "?", "inputs": 0, "accepted": 0, "refused": 0}
            counts["crashes"] = 1
        child.join()
        failed |= counts["crashes"] > 0
        row = ("parser", "engine", "inputs", "accepted", "refused", "crashes")
        print(
            "| "
            + " | ".join(f"{counts[k]:,}" if isinstance(counts[k], int) else counts[k] for k in row)
            + " |",
            flush=True,
        )
    if failed:
        print(json.dumps({"failed": True}))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
