"""Which library and architecture a config or a reference names; no weights are looked at."""

from pathlib import Path

from zooalign.errors import ModelReferenceError
from zooalign.zoo import hub
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.layout import CONFIG_NAME, read_config
from zooalign.zoo.libraries import adapter_named, library_adapters
from zooalign.zoo.references import parse_reference

__all__ = ["fetch_config", "named_architecture", "recognise"]


def recognise(
    directory: Path, where: str, repo: hub.HubRepo | None
) -> tuple[LibraryAdapter, Architecture]:
    """The one adapter that knows the ``config.json`` in ``directory``.

    Raises
    ------
    ModelReferenceError
        No adapter knows it, or several do.
    """
    config = read_config(directory / CONFIG_NAME)
    names = repo.names if repo is not None else sorted(path.name for path in directory.iterdir())
    found = []
    for adapter in library_adapters():
        architecture = adapter.recognise(config, names)
        if architecture is not None:
            found.append((adapter, architecture))
    if len(found) == 1:
        return found[0]
    known = ", ".join(adapter.name for adapter in library_adapters())
    if not found:
        raise ModelReferenceError(
            f"'{where}': no library knows its config.json (asked: {known}); install the plugin of "
            "its library, or name the architecture (model)"
        )
    claimed = ", ".join(adapter.name for adapter, _ in found)
    raise ModelReferenceError(
        f"'{where}': several libraries claim its config.json ({claimed}); name the architecture "
        "(model)"
    )


def named_architecture(
    text: str, *, token: str | None, cache_dir: Path | None
) -> tuple[LibraryAdapter, Architecture]:
    """The architecture that a second reference names.

    Raises
    ------
    ModelReferenceError
        It names none.
    HubError
        The hub does not give its config.
    """
    parsed = parse_reference(text)
    if parsed.kind == "registry":
        adapter = adapter_named(parsed.library or "")
        return adapter, adapter.from_reference(parsed)
    if parsed.kind == "directory":
        return recognise(Path(parsed.target), str(parsed), None)
    if parsed.kind == "hub":
        repo = hub.resolve(parsed.target, parsed.revision, token=token, cache_dir=cache_dir)
        path = fetch_config(repo, token=token, cache_dir=cache_dir)
        return recognise(path.parent, str(parsed), repo)
    raise ModelReferenceError(f"model {text!r} is a file of weights and names no architecture")


def fetch_config(repo: hub.HubRepo, *, token: str | None, cache_dir: Path | None) -> Path:
    """The path of a repo's ``config.json`` on this machine.

    Raises
    ------
    ModelReferenceError
        It has none.
    HubError
        The hub does not give it.
    """
    if CONFIG_NAME not in repo.names:
        raise ModelReferenceError(
            f"{repo.repo_id}@{repo.commit} has no config.json; name its architecture (model)"
        )
    return hub.fetch(repo, [CONFIG_NAME], token=token, cache_dir=cache_dir)[0]
