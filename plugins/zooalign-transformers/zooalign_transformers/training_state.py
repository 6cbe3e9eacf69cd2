"""What a ``Trainer`` keeps beside a checkpoint, for the aligned checkpoint.

A run is continued from an aligned checkpoint as it would have been from the one before: its
optimizer's state follows the units, and the rest of the folder (scheduler, random state, steps
done) is the same.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from zooalign.plugins import (
    CheckpointError,
    Permutation,
    PermutationSpec,
    SpecError,
    new_directory,
    open_model,
    open_release,
    permutation_name,
    permuted_optimizer_state,
)

from zooalign_transformers.building import transformers_model

__all__ = ["carry_training_state", "permuted_optimizer"]

OPTIMIZER = "optimizer.pt"
# Copied as they are; of several processes, each has a random state of its own.
_BESIDE = ("scheduler.pt", "scaler.pt", "trainer_state.json", "training_args.bin", "rng_state*.pth")


def carry_training_state(checkpoint: Path | str, aligned: Path | str, output: Path | str) -> None:
    """Write what ``zooalign align`` made of a checkpoint, with the state to continue its run.

    Parameters
    ----------
    checkpoint:
        The folder of a ``Trainer`` (``run/checkpoint-500``).
    aligned:
        The directory that ``zooalign align TARGET checkpoint -o aligned`` wrote.
    output:
        The folder to write, for ``trainer.train(resume_from_checkpoint=output)``; it appears whole
        or not at all.

    Raises
    ------
    CheckpointError
        The folder has no ``optimizer.pt``, or one that cannot be read or is of other parameters.
    SpecError
        ``aligned`` is no alignment, or the optimizer keeps what cannot follow.
    """
    checkpoint, aligned = Path(checkpoint), Path(aligned)
    content = _read(checkpoint / OPTIMIZER)
    with open_release(str(aligned), files_only=True) as release:
        problem = release.problem("spec") or release.problem("provenance")
        if problem is not None:
            raise SpecError(f"{aligned}: {problem}; give what `zooalign align` wrote")
        permutation = release.permutation(permutation_name(None))
        architecture = open_model(str(checkpoint)).architecture
        model = transformers_model(architecture)
        names = list(_names(model))
        _require_fitting(content, names, release.spec, f"{checkpoint / OPTIMIZER}")
        moved = permuted_optimizer(content, names, release.spec, permutation)
    files = [path for pattern in _BESIDE for path in sorted(checkpoint.glob(pattern))]
    size = sum(path.stat().st_size for path in aligned.rglob("*") if path.is_file())
    needed = size + (checkpoint / OPTIMIZER).stat().st_size + 10_000_000
    with new_directory(output, needed=needed) as directory:
        shutil.copytree(aligned, directory, dirs_exist_ok=True)
        for path in files:
            shutil.copyfile(path, directory / path.name)
        torch.save(moved, directory / OPTIMIZER)


def permuted_optimizer(
    content: Mapping[str, Any],
    names: Sequence[str],
    spec: PermutationSpec,
    permutation: Permutation,
) -> dict[str, Any]:
    """An optimizer's state dict for the aligned model; ``names`` are of its parameters, in order.

    Raises
    ------
    SpecError
        The optimizer keeps what cannot follow.
    """
    state = {
        number: permuted_optimizer_state(spec, permutation, names[number], entry)
        for number, entry in content["state"].items()
    }
    return {**content, "state": state}


def _require_fitting(
    content: Mapping[str, Any], names: Sequence[str], spec: PermutationSpec, where: str
) -> None:
    counted = sum(len(group["params"]) for group in content["param_groups"])
    if counted != len(names):
        raise CheckpointError(
            f"{where}: is of {counted} parameters, and the model has {len(names)}: some were "
            "frozen, or it is another model's"
        )
    for number, entry in content["state"].items():
        shape = spec.shapes[names[number]]
        for value in entry.values():
            if getattr(value, "ndim", 0) == len(shape) > 0 and tuple(value.shape) != shape:
                raise CheckpointError(
                    f"{where}: parameter {number} has moments of shape {tuple(value.shape)}, and "
                    f"'{names[number]}' has shape {shape}: parameters are in another order than a "
                    "Trainer's"
                )


def _names(model: nn.Module) -> Iterator[str]:
    """The names of parameters in a ``Trainer``'s order: those with weight decay come first."""
    from transformers import Trainer

    decayed = set(Trainer.get_decay_parameter_names(None, model))
    for wanted in (True, False):
        for name, _ in model.named_parameters():
            if (name in decayed) is wanted:
                yield name


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is none; give the folder of a Trainer's checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read with weights_only=True: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(content, Mapping) or not {"state", "param_groups"} <= set(content):
        raise CheckpointError(f"{path}: holds no optimizer's state dict")
    return content
