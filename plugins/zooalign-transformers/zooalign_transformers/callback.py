"""Alignment and barrier during training: a callback of transformers' ``Trainer``.

    callback = AlignmentCallback(reference, data=batches, every=500).attach(trainer)
    trainer.train()
    callback.last.aligned.over_line

The model that is trained is left as it is: a copy is aligned, and the optimizer keeps its place.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import zooalign
from torch import nn
from transformers import TrainerCallback
from zooalign import Alignment
from zooalign.plugins import (
    Barrier,
    MergeError,
    PermutationSpec,
    SpecError,
    ZooalignWarning,
    correct,
    cross_entropy,
    new_directory,
    solver_named,
)

from zooalign_transformers.adapter import TransformersAdapter
from zooalign_transformers.scoring import scoring
from zooalign_transformers.trainer_inputs import architecture_of, positional_batches, tensors_of
from zooalign_transformers.training_state import OPTIMIZER, permuted_optimizer

__all__ = ["AlignmentCallback", "Measured"]

PREFIX = "zooalign_"


@dataclass(frozen=True)
class Measured:
    """One alignment during training.

    Attributes
    ----------
    step:
        Optimizer steps done.
    as_is, aligned:
        Barrier in loss between the reference and the model, before and after alignment:
        ``over_line``, ``over_mean``, in the loss's unit (nats a token). None without targets.
    loss_reference, loss_model, loss_midpoint:
        Of the two ends, and halfway after alignment. None without targets.
    moved_fraction:
        Share of units that alignment moved.
    verdict:
        One plain sentence: whether alignment helped.
    """

    step: int
    as_is: Barrier | None
    aligned: Barrier | None
    loss_reference: float | None
    loss_model: float | None
    loss_midpoint: float | None
    moved_fraction: float
    verdict: str

    def logs(self) -> dict[str, float]:
        """What is logged, by name; every name begins with ``zooalign_``."""
        values = {"moved_fraction": self.moved_fraction}
        if self.as_is is not None and self.aligned is not None:
            values |= {
                "barrier_as_is": self.as_is.over_line,
                "barrier_aligned": self.aligned.over_line,
                "barrier_aligned_over_mean": self.aligned.over_mean,
            }
        losses = {
            "loss_reference": self.loss_reference,
            "loss_model": self.loss_model,
            "loss_midpoint": self.loss_midpoint,
        }
        values |= {name: value for name, value in losses.items() if value is not None}
        return {PREFIX + name: value for name, value in values.items()}


class AlignmentCallback(TrainerCallback):
    """Align the model in training to a reference, and measure the barrier between them.

    Parameters
    ----------
    reference:
        A model of the same class and configuration, or the name of one: a directory or a hub repo.
    data:
        Batches to match on and to score: a list or ``DataLoader`` of what the model takes, as a
        ``Trainer``'s collator makes them (mappings, with ``labels``) or ``((input_ids,
        attention_mask), targets)``; or a text file, as on the command line
        (``wiki.txt?length=64&tokenizer=DIR``).
    every:
        Optimizer steps between alignments; None: at the end of training only. At the end it is
        always done.
    method, seed, options:
        As for :func:`zooalign.align`; methods that judge by a loss are given the model's own.
    alphas:
        Points on the line; an odd number has the midpoint.
    output:
        A directory to write the aligned model to, at the end of training, as ``save_pretrained``
        does, with the optimizer's state in its order, so that the run can be continued from it
        (``resume_from_checkpoint``); it appears whole or not at all.
    spec:
        The permutation spec, where it is at hand; else it is derived at the first alignment.

    Attributes
    ----------
    history:
        A :class:`Measured` for each alignment.
    alignment:
        The last one in full: ``state_dict``, ``permutation``, ``spec``, ``verification``.
    """

    def __init__(
        self,
        reference: nn.Module | str,
        data: Iterable[Any] | str,
        *,
        every: int | None = None,
        method: str = "activation",
        alphas: int = 5,
        output: Path | str | None = None,
        batch_size: int = 32,
        spec: PermutationSpec | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every={every}: give a number of steps, or None")
        if alphas < 3 or alphas % 2 == 0:
            raise ValueError(f"alphas={alphas}: give an odd number from 3, which has a midpoint")
        self.history: list[Measured] = []
        self.alignment: Alignment | None = None
        self._reference, self._data = reference, data
        self._every, self._method, self._alphas = every, method, alphas
        self._output, self._batch_size, self._seed = output, batch_size, seed
        self._options = options
        self._spec = spec
        self._log: Callable[[dict[str, float]], None] | None = None

    @property
    def last(self) -> Measured:
        """The last measurement.

        Raises
        ------
        MergeError
            If there was none yet.
        """
        if not self.history:
            raise MergeError("nothing was aligned yet: train first, or give every=")
        return self.history[-1]

    def attach(self, trainer: Any) -> "AlignmentCallback":
        """Add the callback to a trainer and log through it, to whatever it reports to.

        Given in ``Trainer(callbacks=[...])`` instead, results go to ``state.log_history`` only:
        transformers does not tell a callback who its trainer is.
        """
        trainer.add_callback(self)
        self._log = trainer.log
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse before training what could not be done after it."""
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
            raise MergeError(
                "AlignmentCallback needs the whole model on one device, which a sharded one "
                "(FSDP, DeepSpeed) is not: align the saved checkpoint with `zooalign align`"
            )
        architecture_of(kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Align every so many steps."""
        if self._every is None or state.global_step % self._every:
            return
        if state.global_step < state.max_steps:  # the last one is on_train_end's
            wanted = control.should_log
            self._measure(state, kwargs["model"])
            control.should_log = wanted  # logging resets it, and the trainer's own is due

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Align, and write the aligned model where that was asked for."""
        self._measure(state, kwargs["model"])
        if self._output is not None and state.is_world_process_zero:
            assert self.alignment is not None
            _write(self._output, self.alignment, state, kwargs)

    def _measure(self, state: Any, model: nn.Module) -> None:
        if not state.is_world_process_zero:
            return
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            measured, self.alignment = self._aligned(state.global_step, model)
        self._spec = self.alignment.spec
        self.history.append(measured)
        if self._log is not None:
            self._log(measured.logs())
            return
        epoch = {} if state.epoch is None else {"epoch": state.epoch}
        state.log_history.append({**measured.logs(), **epoch, "step": state.global_step})

    def _aligned(self, step: int, model: nn.Module) -> tuple[Measured, Alignment]:
        adapter, architecture = TransformersAdapter(), architecture_of(model)
        reference, directory = tensors_of(self._reference, architecture)
        trained = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        device = next(iter(trained.values())).device
        module = adapter.build_with_weights(architecture, trained, device=device)
        batches = positional_batches(self._data, architecture, directory, self._batch_size)
        loss, metric = scoring(architecture) or (cross_entropy, correct)
        options = dict(self._options)
        if "criterion" in solver_named(self._method).options() and batches[0][1] is not None:
            options.setdefault("criterion", loss)
        alignment = zooalign.align(
            trained,
            to=reference,
            data=batches,
            method=self._method,
            spec=self._spec,
            module=module,
            seed=self._seed,
            **options,
        )
        moved, verdict = alignment.match.moved_fraction, alignment.outcome.verdict
        if batches[0][1] is None:
            nothing = Measured(step, None, None, None, None, None, moved, verdict)
            return nothing, alignment
        before, after = (
            zooalign.barrier(
                reference,
                state,
                data=batches,
                module=module,
                alphas=self._alphas,
                loss=loss,
                metric=metric,
            )
            for state in (trained, alignment.state_dict)
        )
        losses = after.train.loss
        measured = Measured(
            step,
            before.barrier["loss"],
            after.barrier["loss"],
            losses[0],
            losses[-1],
            losses[len(losses) // 2],
            moved,
            verdict,
        )
        return measured, alignment


def _write(
    output: Path | str, alignment: Alignment, state: Any, training: Mapping[str, Any]
) -> None:
    """The aligned model as transformers saves it, with its tokenizer and the state of training."""
    model, processor = training["model"], training.get("processing_class")
    optimizer = training.get("optimizer")
    moved = None if optimizer is None else _moved(optimizer, model, alignment)
    needed = 3 * sum(tensor.nbytes for tensor in alignment.state_dict.values()) + 10_000_000
    with new_directory(output, needed=needed, overwrite=False) as directory:
        if moved is not None:
            torch.save(moved, directory / OPTIMIZER)
            torch.save(training["lr_scheduler"].state_dict(), directory / "scheduler.pt")
            state.save_to_json(str(directory / "trainer_state.json"))
        model.save_pretrained(directory, state_dict=alignment.state_dict)
        if processor is not None and hasattr(processor, "save_pretrained"):
            processor.save_pretrained(directory)


def _moved(optimizer: Any, model: nn.Module, alignment: Alignment) -> dict[str, Any] | None:
    """The optimizer's state dict in the aligned order; None, with a warning, where none follows."""
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        names = [known[id(parameter)] for parameter in parameters]
        return permuted_optimizer(
            optimizer.state_dict(), names, alignment.spec, alignment.permutation
        )
    except (KeyError, SpecError) as error:
        why = str(error) if isinstance(error, SpecError) else "it has parameters of another model"
        warnings.warn(
            f"the optimizer's state is not written beside the aligned model: {why}",
            ZooalignWarning,
            stacklevel=2,
        )
        return None
