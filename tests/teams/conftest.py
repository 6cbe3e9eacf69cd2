"""Pairs of models, made once a session."""

import pytest
from released_pairs import Pairs, make_pairs


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return make_pairs(tmp_path_factory.mktemp("pairs"))
