"""Plugins: built in, from entry points, and broken."""

import pytest
from installed_plugins import Install

from zooalign.errors import ModelReferenceError, ZooalignWarning
from zooalign.gate.plugin_states import plugin_states
from zooalign.hooks import hookspecs
from zooalign.hooks import manager as plugins
from zooalign.zoo import libraries

ADAPTER = """
from zooalign.plugins import hookimpl
from zooalign.zoo.python_adapter import PythonAdapter

class Other(PythonAdapter):
    name = "{name}"

@hookimpl
def zooalign_library_adapters():
    return [Other()]
"""

BUILT_IN = ["timm", "py", "torchvision"]

pytestmark = pytest.mark.usefixtures("no_installed_plugins")


def by_name() -> dict[str, plugins.PluginInfo]:
    return {info.name: info for info in plugins.loaded_plugins()}


def test_built_in_ones_are_plugins() -> None:
    info = by_name()["timm"]
    assert (info.origin, info.distribution) == ("built-in", "zooalign")
    assert info.hooks == ("zooalign_library_adapters",)
    assert info.error is None
    assert [adapter.name for adapter in libraries.library_adapters()] == BUILT_IN


def test_every_hook_says_what_it_is_for() -> None:
    specs = [name for name in dir(hookspecs) if name.startswith("zooalign_")]
    assert len(specs) >= 4
    for name in specs:
        doc = getattr(hookspecs, name).__doc__
        assert doc and doc.splitlines()[0].endswith((".", ")."))


def test_an_outside_plugin(install_plugin: Install) -> None:
    install_plugin("other", ADAPTER.format(name="other"))
    info = by_name()["other"]
    assert info == plugins.PluginInfo(
        "other", "entry point", "dist-other", "1.2", ("zooalign_library_adapters",),
        module=info.module,
    )  # fmt: skip
    assert info.module.startswith("zooalign_test_plugin_other")
    assert libraries.adapter_named("other").name == "other"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("x = 1", "it has no hooks"),
        (
            "from zooalign.plugins import hookimpl\n@hookimpl\ndef zooalign_no_such(): ...",
            "unknown hooks: zooalign_no_such",
        ),
        (
            "from zooalign.plugins import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(wrong): ...",
            "PluginValidationError",
        ),
        (
            "from zooalign.plugins import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(): return [1]",
            "1 is not a LibraryAdapter",
        ),
        (
            "from zooalign.plugins import hookimpl\n"
            "@hookimpl\ndef zooalign_library_adapters(): 1 / 0",
            "ZeroDivisionError",
        ),
        (ADAPTER.format(name="timm"), "an adapter named 'timm' is already there"),
    ],
)
def test_a_broken_plugin_is_a_named_warning(install_plugin: Install, code: str, says: str) -> None:
    install_plugin("broken", code)
    install_plugin("fine", ADAPTER.format(name="fine"))
    with pytest.warns(ZooalignWarning, match=r"plugin 'broken' \(dist-broken\) is left out"):
        adapters = libraries.library_adapters()
    states = {state.name: state for state in plugin_states()}
    assert says in (states["broken"].error or "") and not states["broken"].provides
    assert states["fine"].error is None
    assert [adapter.name for adapter in adapters] == [*BUILT_IN, "fine"]
    assert [adapter.name for adapter in libraries.library_adapters()] == [*BUILT_IN, "fine"]
    with pytest.raises(ModelReferenceError, match="plugins that failed to load: broken"):
        libraries.adapter_named("broken")


def test_a_plugin_cannot_take_a_built_in_name(install_plugin: Install) -> None:
    install_plugin("timm", ADAPTER.format(name="mine"))
    with pytest.warns(ZooalignWarning, match="another plugin has the same name"):
        assert libraries.adapter_named("timm").name == "timm"


def test_allow_list(install_plugin: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin("one", ADAPTER.format(name="one"))
    install_plugin("two", ADAPTER.format(name="two"))
    assert {*BUILT_IN, "one", "two"} <= set(by_name())
    monkeypatch.setenv(plugins.ALLOW_LIST, "")
    assert set(by_name()) == set(BUILT_IN)
    monkeypatch.setenv(plugins.ALLOW_LIST, " two ,")
    assert set(by_name()) == {*BUILT_IN, "two"}
    monkeypatch.setenv(plugins.ALLOW_LIST, "three")
    with pytest.warns(ZooalignWarning, match="'three', which is not installed"):
        assert set(by_name()) == set(BUILT_IN)


def test_an_unknown_library_lists_the_known() -> None:
    with pytest.raises(ModelReferenceError, match=r"'keras': there are timm:, py:"):
        libraries.adapter_named("keras")
