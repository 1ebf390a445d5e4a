"""A device whose memory is too small: what is recognised as such, smaller parts, and one sentence."""

import numpy as np
import pytest
import torch

from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.machine.memory import for_each_batch, out_of_memory, readable_memory_errors

SMALL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm( handle, opa, opb)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]
OTHER = [
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle)`"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    ValueError("CUDA out of memory"),
]


@pytest.mark.parametrize("error", SMALL, ids=str)
def test_too_little_memory_is_one_sentence(error: RuntimeError) -> None:
    """Libraries that allocate beside torch raise errors of other types, and mean the same."""
    assert out_of_memory(error)
    with pytest.raises(ResourceError, match="The device's memory is too small for a test; use --device cpu"):
        readable_memory_errors("a test")(_raising)(error)


@pytest.mark.parametrize("error", [*OTHER, UserError("no such file")], ids=str)
def test_other_errors_stay(error: Exception) -> None:
    """They are raised as they are."""
    assert not out_of_memory(error)
    with pytest.raises(type(error)) as caught, readable_memory_errors("a test"):
        raise error
    assert caught.value is error


def _raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", SMALL[:2], ids=str)
def test_batches_are_split(error: RuntimeError, capsys: pytest.CaptureFixture[str]) -> None:
    """Each item is done once in the end, in parts that fit; where one item does not fit, a sentence says so."""
    done: list[int] = []

    def work(batch: np.ndarray) -> None:
        if len(batch) > most:
            raise error
        done.extend(batch.tolist())

    batches, most = [np.arange(10), np.arange(10, 13), np.arange(13, 30)], 3
    for_each_batch("a test", batches, work)
    assert done == list(range(30))
    assert capsys.readouterr().err.splitlines() == [
        "a test: out of memory, goes on with 5 at a time.",
        "a test: out of memory, goes on with 2 at a time.",
    ]
    most = 0
    with pytest.raises(ResourceError, match="too small for a test"):
        for_each_batch("a test", batches, work)
