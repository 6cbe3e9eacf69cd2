"""Fixtures: which plugins are installed while a test runs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zooalign.hooks import hookspecs
from zooalign.hooks import manager as plugins
from zooalign.symmetry import extract
from zooalign.zoo import libraries

__all__ = ["Install", "install_plugin", "no_installed_plugins"]

Install = Callable[[str, str], None]


@pytest.fixture
def no_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the plugins that happen to be installed here; those of the test are seen."""
    monkeypatch.delenv(plugins.ALLOW_LIST, raising=False)
    real = plugins.entry_points
    installed = {entry.name for entry in real(group=hookspecs.PROJECT)}
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: [entry for entry in real(group=group) if entry.name not in installed],
    )
    _clear_caches()
    yield
    _clear_caches()


@pytest.fixture
def install_plugin(
    no_installed_plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Install:
    """Put the distribution ``dist-NAME`` 1.2 with one plugin on the path, as pip would."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(name: str, code: str) -> None:
        module = f"zooalign_test_plugin_{name}_{abs(hash((tmp_path, code)))}"
        _clear_caches()
        (folder / f"{module}.py").write_text(code)
        info = folder / f"dist_{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[zooalign]\n{name} = {module}\n")

    return install


def _clear_caches() -> None:
    for cached in (plugins._load, libraries._collect, extract._rules):
        cached.cache_clear()
