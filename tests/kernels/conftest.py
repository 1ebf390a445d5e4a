"""Fixtures of the kernels' tests."""

import pytest
import torch

from tests.kernels.compiled import COMPILED


@pytest.fixture(params=COMPILED)
def isa(request: pytest.FixtureRequest) -> str:
    """Each compiled backend of this machine in turn."""
    return str(request.param)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random inputs are the same in every run."""
    torch.manual_seed(0)
