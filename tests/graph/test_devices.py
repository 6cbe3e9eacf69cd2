"""Devices that are not there are refused with those that are."""

import pytest
import torch

from zooalign.errors import MergeError
from zooalign.graph.devices import require_device
from zooalign.release.opening import open_family
from zooalign.release.settings import AlignSettings


def test_devices_that_are_there() -> None:
    assert require_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "cpu:x"])
def test_others_are_refused_with_what_is_there(name: str) -> None:
    with pytest.raises(MergeError, match=rf"device {name!r} .* there are cpu.*--device, or dev"):
        require_device(name)


def test_before_any_model_is_opened() -> None:
    with pytest.raises(MergeError, match="device 'gpu'"):
        open_family(["./not-there"], AlignSettings(device="gpu"))
