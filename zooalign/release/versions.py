"""Which versions a result came from."""

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_PACKAGES = ("zooalign", "torch", "timm", "safetensors", "numpy", "scipy", "huggingface_hub")


def versions() -> dict[str, str]:
    """Versions of Python, the platform (no host name) and the packages that bear on results."""
    installed = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            installed[name] = "unknown"
    return installed | {"platform": f"{platform.system()} {platform.machine()}"}
