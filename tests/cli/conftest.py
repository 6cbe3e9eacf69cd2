"""Commands, called in this process."""

import pytest
from cli_calls import Call, in_process


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return in_process(capsys)
