"""Devices: which there are, and what one can do that lacks numbers in float64, as MPS does."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.machine import device
from sae_pipeline.machine.device import for_training_saes, in_float64, pick_device
from tests.support.saes import drawn, random_sae


class WithoutFloat64(Tensor):
    """A tensor as on MPS: it and what is computed from it cannot become float64 before `cpu()`."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func`; the result is in main memory after `cpu()`, else on the device."""
        result = super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if func is Tensor.cpu:
            return result.as_subclass(Tensor)
        if isinstance(result, WithoutFloat64) and result.dtype is torch.float64:
            raise TypeError("MPS has no float64")
        return result


@pytest.fixture
def as_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's tensors are treated like those of MPS."""
    monkeypatch.setattr(device, "_WITHOUT_FLOAT64", {"cpu"})


@pytest.mark.usefixtures("as_mps")
def test_an_sae_is_measured_without_float64() -> None:
    """The figures are those of a device with float64, to the last bit."""
    x, sae = drawn(9, 300, 12), random_sae()
    expected = code_quality(sae, "test", x.split(100), 300)
    batches = [part.as_subclass(WithoutFloat64) for part in x.split(100)]
    assert code_quality(sae, "test", batches, 300) == expected
    with pytest.raises(TypeError, match="no float64"):
        batches[0].double()
    assert type(in_float64(batches[0])) is Tensor


def test_mps_is_named_and_trains_no_saes() -> None:
    """It is never picked; one sentence says where it is not. SAEs are trained on the CPU beside it."""
    assert pick_device().type in ("cpu", "cuda")
    if not torch.backends.mps.is_available():
        with pytest.raises(UserError, match="'mps' is not available here; use --device cpu"):
            pick_device("mps")
    assert for_training_saes(torch.device("mps")).type == "cpu"
    assert for_training_saes(torch.device("cuda:1")) == torch.device("cuda:1")
