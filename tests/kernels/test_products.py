"""The encoder and the products over lists, on every compiled backend, against dense algebra in float64."""

import pytest
import torch

from sae_pipeline.kernels import Encoder, Lists, path_counts, reference, sddmm, sparse_decode, spmm, transpose
from tests.kernels.compiled import COMPILED, PRESELECTING, SHAPES, dense_of, random_lists


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_equal_dense_algebra(isa: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """spmm is f·W, sddmm is A·Wᵀ at the entries, and transpose is fᵀ; operands need not be contiguous."""
    n, d, d_sae = shape
    lists = random_lists(n, d_sae, seed=n)
    f = dense_of(lists, d_sae)
    W = torch.randn(d, 2 * d_sae, dtype=dtype)[:, ::2].T
    A = torch.randn(d, n, dtype=dtype).T
    assert torch.allclose(spmm(lists, W, isa).double(), f @ W.double(), rtol=1e-4, atol=1e-5)
    expected = (A.double() @ W.double().T)[lists.rows, lists.cols.long()]
    assert torch.allclose(sddmm(lists, A, W, isa).double(), expected, rtol=1e-4, atol=1e-5)
    by_feature, order = transpose(lists, d_sae, isa)
    assert torch.equal(dense_of(by_feature, n), f.T)
    assert torch.equal(lists.values[order], by_feature.values)
    twin, twin_order = reference.transpose(lists, d_sae)
    assert torch.equal(by_feature.ptr, twin.ptr) and torch.equal(order, twin_order)


def test_duplicate_entries_add_up(isa: str) -> None:
    """A row may name a feature twice."""
    lists = Lists(torch.tensor([0, 0, 3]), torch.tensor([1, 1, 0], dtype=torch.int32), torch.tensor([2.0, 3.0, 5.0]))
    W = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
    assert spmm(lists, W, isa).tolist() == [[0, 0], [505, 5050]]
    assert transpose(lists, 2, isa)[0].cols.tolist() == [1, 1, 1]


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_decode_gradients(backend: str) -> None:
    """The gradients of the sparse decoder, in float64 by finite differences."""
    lists = random_lists(5, 9, seed=3)
    values = lists.values.clone().requires_grad_()
    W = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, w: sparse_decode(lists, v, w, backend), (values, W))


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
@pytest.mark.parametrize("shape", SHAPES)
def test_encoder_is_exact(backend: str, shape: tuple[int, int, int]) -> None:
    """The lists hold exactly the positive entries of x·W + b, by token, then feature."""
    n, d, d_sae = shape
    x, W, b = torch.randn(2 * n, d)[::2], torch.randn(d, d_sae), torch.randn(d_sae) - 1
    b[0] = -1e9
    lists = Encoder(W, b, backend=backend)(x)
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, d_sae).double(), f, atol=1e-4)
    assert (lists.values > 0).all()
    for row in range(n):
        assert lists.cols[lists.ptr[row] : lists.ptr[row + 1]].diff().gt(0).all()


def test_zero_is_not_active(isa: str) -> None:
    """Pre-activations of zero and minus zero are no entries. Inputs without tokens or without entries are fine."""
    x, W = torch.zeros(3, 4), torch.randn(4, 20)
    assert Encoder(W, torch.zeros(20), backend=isa)(x).ptr.tolist() == [0, 0, 0, 0]
    assert Encoder(W, -torch.zeros(20), backend=isa)(torch.zeros(300, 4)).ptr.tolist() == [0] * 301
    assert Encoder(W, torch.zeros(20), backend=isa)(x[:0]).ptr.tolist() == [0]


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("shape", [(256, 1, 1), (300, 33, 65), (1500, 97, 300)])
def test_encoder_of_many_tokens(isa: str, shape: tuple[int, int, int], k: int | None) -> None:
    """With preselection the same entries are found as in fp32, also with outliers and entries at the threshold."""
    n, d, d_sae = shape
    x, W, b = torch.randn(n, d), torch.randn(d, d_sae) / d**0.5, torch.randn(d_sae) - 2
    x[:: n // 7, : d // 2 + 1] *= 100
    b[: d_sae // 2] = -x[0] @ W[:, : d_sae // 2]  # token 0 is at the threshold
    path_counts.clear()
    lists = Encoder(W, b, k=k, backend=isa)(x)
    assert (path_counts["encode.preselected"] > 0) == (isa in PRESELECTING)
    f = torch.relu(x.double() @ W.double() + b.double())
    found = dense_of(lists, d_sae).double()
    if k is not None:  # sorted by size, since equals may be exchanged
        f, found = (values.topk(min(k, d_sae)).values for values in (f, found))
        assert (lists.ptr.diff() <= k).all()
    assert torch.allclose(found, f, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("d", [48, 800])
def test_encoder_of_few_dense_features(isa: str, d: int) -> None:
    """Entries are exact with some dense features among sparse ones, tokens that fill no tile, and wide tokens."""
    x, W, b = torch.randn(300, d), torch.randn(d, 700) / d**0.5, torch.full((700,), -3.0)
    b[::50] = 1.5
    path_counts.clear()
    lists = Encoder(W, b, backend=isa)(x)
    assert path_counts["encode.dense"] == (isa not in PRESELECTING)
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, 700).double(), f, atol=1e-4)


def test_token_that_is_not_a_number(isa: str) -> None:
    """A token that holds NaN leaves the results of the other tokens unchanged."""
    x, W, b = torch.randn(400, 24), torch.randn(24, 300) / 24**0.5, torch.full((300,), -2.5)
    x[7] = torch.nan
    lists = Encoder(W, b, backend=isa)(x)
    f = torch.relu(x.double() @ W.double() + b.double())
    others = torch.arange(400) != 7
    assert torch.allclose(dense_of(lists, 300).double()[others], f[others], atol=1e-4)


def test_encoder_of_dense_features(isa: str) -> None:
    """Where most features are active, dense products find all entries."""
    x, W, b = torch.randn(400, 16), torch.randn(16, 512), torch.ones(512)
    path_counts.clear()
    lists = Encoder(W, b, backend=isa)(x)
    assert path_counts["encode.dense"] > 0
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, 512).double(), f, atol=1e-4)
