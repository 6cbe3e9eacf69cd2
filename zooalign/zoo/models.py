"""Opening a model by its reference."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import CheckpointError, HubError, ModelReferenceError
from zooalign.zoo import hub
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.checkpoint import (
    STATES,
    Checkpoint,
    open_checkpoint,
    open_pickle,
    open_pickle_index,
)
from zooalign.zoo.converted_checkpoint import as_architecture
from zooalign.zoo.layout import (
    CONFIG_NAME,
    MODEL_FLAG,
    PICKLE_FLAG,
    PICKLE_INDEX_NAME,
    WEIGHTS_NAME,
    choose_weights,
    is_index,
    read_config,
)
from zooalign.zoo.libraries import adapter_named, library_adapters, usual_weights
from zooalign.zoo.references import PICKLE_SUFFIXES, Reference, parse_reference
from zooalign.zoo.suggestions import hinted, no_such, parse

__all__ = ["Model", "open_architecture", "open_model"]

# From a repo's id and a revision to the repo at one commit.
_Resolve = Callable[[str, str | None], hub.HubRepo]


@dataclass(frozen=True)
class Model:
    """An architecture and, except for ``timm:`` and ``py:`` references, its checkpoint.

    ``reference`` is in normal form. ``directory`` is where config and weights lie on this
    machine, None without a checkpoint.
    """

    reference: str
    architecture: Architecture
    adapter: LibraryAdapter
    checkpoint: Checkpoint | None = None
    directory: Path | None = None
    repo: hub.HubRepo | None = None

    @cached_property
    def source(self) -> dict[str, Any]:
        """Where the model comes from, as JSON.

        ``kind`` and ``reference``; for a hub repo ``repo``, resolved ``commit`` and ``license``;
        for a directory or file ``path``; with a checkpoint ``files`` (``name``, ``size`` in bytes,
        ``sha256``).

        Raises
        ------
        HubError
            A downloaded file is not the one the hub states.
        """
        kind = self.adapter.name if self.checkpoint is None else "local"
        source: dict[str, Any] = {"kind": kind, "reference": self.reference}
        if self.checkpoint is None:  # of the registry, or opened without weights
            return source
        if self.repo is not None:
            source |= {"kind": "hub", "repo": self.repo.repo_id, "commit": self.repo.commit}
            source["license"] = self.repo.license
        else:
            source["path"] = str(self.directory)
        stated = dict(self.repo.hashes) if self.repo is not None else {}
        source["files"] = []
        for path in self.checkpoint.files:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if stated.get(path.name, digest) != digest:
                raise HubError(
                    f"{self.reference}: {path.name} in the cache is not the file the hub "
                    "states (sha256 differs); delete it from the cache and try again"
                )
            size = path.stat().st_size
            source["files"].append({"name": path.name, "size": size, "sha256": digest})
        return source

    def build(self) -> nn.Module:
        """The module without weights: parameters on meta, buffers with values, eval mode."""
        return self.adapter.build(self.architecture)

    def state_dict(self, seed: int = 0) -> Mapping[str, Tensor]:
        """The tensors in the architecture's key order, each read on access.

        Without a checkpoint they are the library's initial values under ``seed``, in memory.

        Raises
        ------
        CheckpointError
            The checkpoint does not fit the architecture.
        """
        if self._without_weights():
            return self.adapter.build_initialised(self.architecture, seed).state_dict()
        assert self.checkpoint is not None
        return state_dict_for(self.build(), self.checkpoint, where=self.reference)

    def _without_weights(self) -> bool:
        if self.checkpoint is None and (self.directory is not None or self.repo is not None):
            raise CheckpointError(
                f"'{self.reference}' was opened for its architecture alone; open_model gives "
                "weights"
            )
        return self.checkpoint is None

    def module(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> nn.Module:
        """The module with its weights in eval mode; ``seed`` as for :meth:`state_dict`.

        On the CPU without ``dtype`` the weights stay memory-mapped.
        """
        if self._without_weights():
            module = self.adapter.build_initialised(self.architecture, seed)
            return module.to(device=device, dtype=dtype)
        return self.adapter.build_with_weights(
            self.architecture, self.state_dict(), device=device, dtype=dtype
        )

    def example_inputs(
        self, batch_size: int = 2, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Seeded random inputs, batch first."""
        return self.adapter.example_inputs(self.architecture, batch_size, device)

    def config_files(self) -> dict[str, bytes]:
        """The files to write beside new weights of this architecture.

        Of a hub repo, those its adapter wants beside ``config.json`` (``files_beside``, such as a
        tokenizer's) are fetched now.
        """
        files_beside = getattr(self.adapter, "files_beside", None)
        if self.repo is not None and files_beside is not None:
            hub.fetch(self.repo, sorted(files_beside(self.repo.names)))
        # What lies beside a file that was named alone need not belong to it.
        alone = self.checkpoint is not None and parse_reference(self.reference).kind == "file"
        return self.adapter.config_files(self.architecture, None if alone else self.directory)

    @property
    def weights_name(self) -> str:
        """The name of one file with all weights, such as its library loads it.

        A file in the layout of another program keeps its own (``keeps_layout`` of the adapter).
        """
        keeps = getattr(self.adapter, "keeps_layout", None)
        if self.checkpoint is not None and keeps is not None:
            (*_, file) = self.checkpoint.files
            stored = getattr(self.checkpoint, "stored", self.checkpoint)
            if file.name.endswith(".safetensors") and keeps(self.architecture, stored):
                return file.name
        return str(getattr(self.adapter, "weights_name", WEIGHTS_NAME))


def open_model(
    reference: str,
    *,
    model: str | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: Path | None = None,
) -> Model:
    """Open the model that ``reference`` names (``docs/references.md``); weights are not read.

    Parameters
    ----------
    model:
        The architecture, as a second reference, in place of what the first one's ``config.json``
        says; needed for a bare file.
    allow_pickle:
        Read ``.bin``, ``.pth``, ``.pt`` (with ``weights_only=True``).
    revision:
        Revision of a hub repo, as behind the ``@``.
    token:
        Token for the hub; default is the client's (``HF_TOKEN``).
    cache_dir:
        Cache of the hub's client; default is the client's.

    Raises
    ------
    ModelReferenceError
        The reference or its config cannot be understood.
    CheckpointError
        Files are missing, malformed or in a format that is not allowed.
    HubError
        The hub does not give them.
    """
    parsed = parse(reference)
    if revision is not None:
        parsed = _with_revision(parsed, revision)
    if parsed.kind == "registry":
        if model is not None:
            raise ModelReferenceError(
                f"'{parsed}' is an architecture itself; leave out --model {model!r}"
            )
        adapter = adapter_named(parsed.library or "")
        return Model(str(parsed), adapter.from_reference(parsed), adapter)
    resolve = partial(hub.resolve, token=token, cache_dir=cache_dir)
    repo = None
    if parsed.kind == "hub":
        with hinted(reference):
            repo = resolve(parsed.target, parsed.revision)
        directory, weights = _download(repo, model, allow_pickle)
    elif parsed.kind == "directory":
        directory, weights = _local_directory(parsed, allow_pickle)
    else:
        directory, weights = _local_file(parsed, model, allow_pickle)
    adapter, architecture = _architecture(model, directory, str(parsed), repo, resolve)
    stored = open_weights(weights, adapter, parsed.kwargs.get("state"))
    checkpoint = as_architecture(adapter, architecture, stored)
    return Model(str(parsed), architecture, adapter, checkpoint, directory, repo)


def open_weights(path: Path, adapter: LibraryAdapter, state: str | None = None) -> Checkpoint:
    """The tensors in a file of weights, in an index's shards, or in a state dict of a pickle.

    Without ``state``, the one that the library itself loads is taken (``states`` of its adapter).

    Raises
    ------
    CheckpointError
        As :func:`~zooalign.zoo.checkpoint.open_checkpoint` and
        :func:`~zooalign.zoo.checkpoint.open_pickle`; a state of a file that has no several.
    """
    if path.name.lower().endswith(PICKLE_SUFFIXES):
        return open_pickle(path, state, (*getattr(adapter, "states", ()), *STATES))
    if state is not None:
        raise CheckpointError(
            f"{path}: holds one state dict, and ?state={state} names one of several in a pickle"
        )
    return open_pickle_index(path) if path.name == PICKLE_INDEX_NAME else open_checkpoint(path)


def open_architecture(
    reference: str,
    *,
    model: str | None = None,
    allow_pickle: bool = False,
    token: str | None = None,
    cache_dir: Path | None = None,
) -> Model:
    """As :func:`open_model`, but no weights are downloaded from a hub.

    A local directory's weights are opened where there are some; it may hold a config alone.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        As :func:`open_model`.
    """
    parsed = parse(reference)
    where = str(parsed)
    resolve = partial(hub.resolve, token=token, cache_dir=cache_dir)
    directory: Path | None = Path(parsed.target)
    repo = None
    if parsed.kind == "hub":
        with hinted(reference):
            repo = resolve(parsed.target, parsed.revision)
        directory = _fetch_config(repo).parent if model is None else None
    elif parsed.kind != "directory" or not _holds_no_weights(Path(parsed.target)):
        return open_model(
            reference, model=model, allow_pickle=allow_pickle, token=token, cache_dir=cache_dir
        )
    adapter, architecture = _architecture(model, directory, where, repo, resolve)
    return Model(where, architecture, adapter, None, directory, repo)


def _architecture(
    model: str | None,
    directory: Path | None,
    where: str,
    repo: hub.HubRepo | None,
    resolve: _Resolve,
) -> tuple[LibraryAdapter, Architecture]:
    """The architecture that ``model`` names, without it that of the directory's ``config.json``."""
    if model is None:
        assert directory is not None
        return _recognise(directory, where, repo)
    parsed = parse(model)
    if parsed.kind == "registry":
        adapter = adapter_named(parsed.library or "")
        return adapter, adapter.from_reference(parsed)
    if parsed.kind == "directory":
        return _recognise(Path(parsed.target), str(parsed), None)
    if parsed.kind == "hub":
        repo = resolve(parsed.target, parsed.revision)
        return _recognise(_fetch_config(repo).parent, str(parsed), repo)
    raise ModelReferenceError(f"model {model!r} is a file of weights and names no architecture")


def _recognise(
    directory: Path, where: str, repo: hub.HubRepo | None
) -> tuple[LibraryAdapter, Architecture]:
    """The one adapter that knows the ``config.json`` in ``directory``."""
    config = read_config(directory / CONFIG_NAME)
    names = repo.names if repo is not None else sorted(path.name for path in directory.iterdir())
    recognised = []
    for adapter in library_adapters():
        architecture = adapter.recognise(config, names)
        if architecture is not None:
            recognised.append((adapter, architecture))
    if not recognised:
        known = ", ".join(adapter.name for adapter in library_adapters())
        raise ModelReferenceError(
            f"'{where}': no library knows its config.json (asked: {known}); install the plugin of "
            f"its library, or name the architecture ({MODEL_FLAG})"
        )
    if len(recognised) == 1:
        return recognised[0]
    claimed = ", ".join(adapter.name for adapter, _ in recognised)
    raise ModelReferenceError(
        f"'{where}': several libraries claim its config.json ({claimed}); name the architecture "
        f"({MODEL_FLAG})"
    )


def _fetch_config(repo: hub.HubRepo) -> Path:
    _require_config(repo)
    return hub.fetch(repo, [CONFIG_NAME])[0]


def _require_config(repo: hub.HubRepo) -> None:
    if CONFIG_NAME not in repo.names:
        raise ModelReferenceError(
            f"{repo.repo_id}@{repo.commit} has no config.json; name its architecture ({MODEL_FLAG})"
        )


def _holds_no_weights(directory: Path) -> bool:
    """Whether this is a directory with nothing but pickles that may hold weights."""
    if not directory.is_dir():
        return False
    names = [path.name for path in directory.iterdir()]
    return not any(is_index(name) or name.endswith(".safetensors") for name in names)


def _with_revision(reference: Reference, revision: str) -> Reference:
    if reference.kind != "hub":
        raise ModelReferenceError(
            f"'{reference}' is not a hub repo and has no revision {revision!r}"
        )
    if reference.revision not in (None, revision):
        raise ModelReferenceError(f"'{reference}' names another revision than {revision!r}")
    return parse_reference(f"hub:{reference.target}@{revision}")


def _download(repo: hub.HubRepo, model: str | None, allow_pickle: bool) -> tuple[Path, Path]:
    """Fetch the config and the weights' files, and no others."""
    where = f"{repo.repo_id}@{repo.commit}"
    weights = choose_weights(
        repo.names, where=where, allow_pickle=allow_pickle, usual=usual_weights()
    )
    if model is None:
        _require_config(repo)
    path = hub.fetch(repo, [name for name in (CONFIG_NAME, weights) if name in repo.names])[-1]
    if is_index(weights) or weights == PICKLE_INDEX_NAME:
        weight_map = read_config(path).get("weight_map")
        shards = set(weight_map.values()) if isinstance(weight_map, dict) else set()
        # Only names in the repo are fetched; open_checkpoint reports all others exactly.
        hub.fetch(repo, sorted(shards & set(repo.names)))
    return path.parent, path


def _local_directory(reference: Reference, allow_pickle: bool) -> tuple[Path, Path]:
    directory = Path(reference.target)
    if not directory.is_dir():
        raise no_such("directory", str(reference))
    names = [path.name for path in directory.iterdir() if path.is_file()]
    weights = choose_weights(
        names, where=str(reference), allow_pickle=allow_pickle, usual=usual_weights()
    )
    return directory, directory / weights


def _local_file(reference: Reference, model: str | None, allow_pickle: bool) -> tuple[Path, Path]:
    path = Path(reference.target)
    if not path.is_file():
        raise no_such("file", str(reference))
    if reference.is_pickle and not allow_pickle:
        raise ModelReferenceError(
            f"'{reference}' is a pickle file, which is not read unless you allow it ({PICKLE_FLAG})"
        )
    if model is None:
        raise ModelReferenceError(
            f"'{reference}' is a file of weights alone; name its architecture too ({MODEL_FLAG}), "
            "e.g. timm:resnet18?num_classes=10 or py:package.module:callable"
        )
    return path.parent, path
