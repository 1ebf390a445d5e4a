"""The ReLU step on every backend, against autograd in float64 and plain fp32 torch."""

import pytest
import torch
from torch import Tensor

from sae_pipeline.kernels import path_counts
from sae_pipeline.kernels.backend import CPU_REQUIREMENTS
from sae_pipeline.kernels.cpu import cpu_features
from sae_pipeline.sae.kinds import unit_rows
from sae_pipeline.sae.kinds.relu import ReluStep
from tests.kernels.compiled import COMPILED


def rows(d_sae: int, d_in: int, seed: int) -> Tensor:
    """Random rows of length 1 [d_sae, d_in]."""
    return unit_rows(d_sae, d_in, torch.Generator().manual_seed(seed))


def plain_autograd_step(
    W_enc: Tensor, W_dec: Tensor, b_enc: Tensor, b_dec: Tensor, x: Tensor, l1: float
) -> tuple[Tensor, ...]:
    """Loss and gradients of the ReLU recipe by autograd."""
    leaves = [t.clone().requires_grad_() for t in (W_enc, W_dec, b_enc, b_dec)]
    f = torch.relu(x @ leaves[0].T + leaves[2])
    loss = ((f @ leaves[1] + leaves[3] - x).square().sum() + l1 * f.sum()) / len(x)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("shape", [(40, 24, 60), (33, 97, 130)])
@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_step_is_autograd_and_adam(backend: str, shape: tuple[int, int, int]) -> None:
    """Three steps equal autograd in float64 with the documented optimiser; features without an entry do not move."""
    n, d, d_sae = shape
    lr, l1, beta2, eps = 3e-3, 0.7, 0.999, 1e-8
    step = ReluStep(rows(d_sae, d, 0), encoder_bias=-1.2, backend=backend, precision="fp32")
    W_enc, W_dec = (step.features.W_enc.double(), step.features.W_dec.double())
    b_enc, b_dec = torch.full((d_sae,), -1.2, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    b_enc[:5] = -99.0
    step.features.b_enc[:5] = -99.0
    v, n_steps = [torch.zeros(d_sae, dtype=torch.float64) for _ in range(3)], torch.zeros(d_sae)
    m_dec, v_dec = torch.zeros_like(b_dec), torch.zeros_like(b_dec)
    for i in range(3):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(i))
        stats = step.step(x, lr, l1)
        x = x.double()
        active = (x @ W_enc.T + b_enc > 0).any(0)
        loss, g_enc, g_dec, g_b, g_b_dec = plain_autograd_step(W_enc, W_dec, b_enc, b_dec, x, l1)
        assert stats.loss == pytest.approx(float(loss), rel=1e-4)
        g_dec = g_dec - (g_dec * W_dec).sum(1, keepdim=True) * W_dec
        n_steps += active
        for w, g, moment in zip((W_enc, W_dec, b_enc[:, None]), (g_enc, g_dec, g_b[:, None]), v, strict=True):
            square = g[active].square().mean(1)
            moment[active] = beta2 * moment[active] + (1 - beta2) * square
            root = torch.maximum(moment[active] / (1 - beta2 ** n_steps[active].double()), square).sqrt() + eps
            w[active] -= lr * g[active] / root[:, None]
        W_dec /= W_dec.norm(dim=1, keepdim=True)
        m_dec, v_dec = 0.9 * m_dec + 0.1 * g_b_dec, 0.999 * v_dec + 0.001 * g_b_dec**2
        b_dec -= lr * (m_dec / (1 - 0.9 ** (i + 1))) / ((v_dec / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8)
    assert torch.allclose(step.features.W_dec.double(), W_dec, atol=2e-5)
    assert torch.allclose(step.features.W_enc.double(), W_enc, atol=2e-4)
    assert torch.allclose(step.features.b_enc.double(), b_enc, atol=2e-4)
    assert torch.allclose(step.b_dec.double(), b_dec, atol=2e-4)
    assert torch.equal(step.features.W_dec[:5], rows(d_sae, d, 0)[:5])


def test_path_by_density() -> None:
    """Few active entries are worked on as lists, many by dense products, with the same losses."""
    if not cpu_features() & CPU_REQUIREMENTS["amx"]:
        pytest.skip("on a CPU without AMX every density goes over lists")
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for bias, path in ((-2.5, "step.sparse.amx"), (2.0, "step.dense.cpu")):
        step = ReluStep(rows(512, 64, 1), encoder_bias=bias)
        before = path_counts[path]
        ours = [step.step(x, 1e-3, 0.5).loss for _ in range(3)]
        assert path_counts[path] == before + 3
        exact = ReluStep(rows(512, 64, 1), encoder_bias=bias, backend="reference", precision="fp32")
        assert ours == pytest.approx([exact.step(x, 1e-3, 0.5).loss for _ in range(3)], rel=0.01)
