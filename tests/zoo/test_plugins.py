"""Plugins: built in, from entry points, and broken."""

from pathlib import Path

import pytest

from zooalign.errors import ModelReferenceError, ZooalignWarning
from zooalign.zoo import hooks, plugins

ADAPTER = """
from zooalign.zoo.hooks import hookimpl
from zooalign.zoo.python_adapter import PythonAdapter

class Other(PythonAdapter):
    name = "{name}"

@hookimpl
def zooalign_library_adapters():
    return [Other()]
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the plugins that happen to be installed here."""
    monkeypatch.delenv(plugins.ALLOW_LIST, raising=False)
    real = plugins.entry_points
    installed = {entry.name for entry in real(group=hooks.PROJECT)}
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: [entry for entry in real(group=group) if entry.name not in installed],
    )
    plugins._load.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a distribution with one plugin on the path, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, code: str) -> None:
        module = f"zooalign_test_plugin_{name}_{abs(hash((tmp_path, code)))}"
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"dist_{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[zooalign]\n{name} = {module}\n")

    return install


def by_name() -> dict[str, plugins.PluginInfo]:
    return {info.name: info for info in plugins.loaded_plugins()}


def test_built_in_ones_are_plugins() -> None:
    info = by_name()["timm"]
    assert (info.origin, info.distribution) == ("built-in", "zooalign")
    assert info.hooks == ("zooalign_library_adapters",)
    assert info.error is None
    assert [adapter.name for adapter in plugins.library_adapters()] == ["timm", "py"]


def test_every_hook_says_what_it_is_for() -> None:
    specs = [name for name in dir(hooks) if name.startswith("zooalign_")]
    assert len(specs) >= 4
    for name in specs:
        doc = getattr(hooks, name).__doc__
        assert doc and doc.splitlines()[0].endswith((".", ")."))


def test_an_outside_plugin(install) -> None:
    install("other", ADAPTER.format(name="other"))
    info = by_name()["other"]
    assert info == plugins.PluginInfo(
        "other", "entry point", "dist-other", "1.2", ("zooalign_library_adapters",),
        module=info.module,
    )  # fmt: skip
    assert info.module.startswith("zooalign_test_plugin_other")
    assert plugins.adapter_named("other").name == "other"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("x = 1", "it has no hooks"),
        (
            "from zooalign.zoo.hooks import hookimpl\n@hookimpl\ndef zooalign_no_such(): ...",
            "unknown hooks: zooalign_no_such",
        ),
        (
            "from zooalign.zoo.hooks import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(wrong): ...",
            "PluginValidationError",
        ),
        (
            "from zooalign.zoo.hooks import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(): return [1]",
            "1 is not a LibraryAdapter",
        ),
        (
            "from zooalign.zoo.hooks import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(): 1 / 0",
            "ZeroDivisionError",
        ),
        (ADAPTER.format(name="timm"), "an adapter named 'timm' is already there"),
    ],
)
def test_a_broken_plugin_is_a_named_warning(install, code: str, says: str) -> None:
    install("broken", code)
    install("fine", ADAPTER.format(name="fine"))
    with pytest.warns(ZooalignWarning, match=r"plugin 'broken' \(dist-broken\) is left out"):
        infos = by_name()
    assert says in (infos["broken"].error or "")
    assert infos["broken"].hooks == ()
    assert infos["fine"].error is None
    assert [adapter.name for adapter in plugins.library_adapters()] == ["timm", "py", "fine"]
    with pytest.raises(ModelReferenceError, match="plugins that failed to load: broken"):
        plugins.adapter_named("broken")


def test_a_plugin_cannot_take_a_built_in_name(install) -> None:
    install("timm", ADAPTER.format(name="mine"))
    with pytest.warns(ZooalignWarning, match="another plugin has the same name"):
        assert plugins.adapter_named("timm").name == "timm"


def test_allow_list(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("one", ADAPTER.format(name="one"))
    install("two", ADAPTER.format(name="two"))
    assert {"timm", "py", "one", "two"} <= set(by_name())
    monkeypatch.setenv(plugins.ALLOW_LIST, "")
    assert set(by_name()) == {"timm", "py"}
    monkeypatch.setenv(plugins.ALLOW_LIST, " two ,")
    assert set(by_name()) == {"timm", "py", "two"}
    monkeypatch.setenv(plugins.ALLOW_LIST, "three")
    with pytest.warns(ZooalignWarning, match="'three', which is not installed"):
        assert set(by_name()) == {"timm", "py"}


def test_an_unknown_library_lists_the_known() -> None:
    with pytest.raises(ModelReferenceError, match=r"'keras': there are timm:, py:"):
        plugins.adapter_named("keras")
