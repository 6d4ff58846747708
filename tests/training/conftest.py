"""One network, trained once, for all tests that need one."""

import pytest

from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from toy_muons import toy_dataset


@pytest.fixture(scope="session")
def toy_data():
    return toy_dataset(20_000)


@pytest.fixture(scope="session")
def trained(toy_data):
    """Model A after three epochs."""
    return fit(toy_data, RECIPES["A"], epochs=3, batch=64)
