"""Every kind of SAE against fp32 autograd of the same algorithm, and on data with known features."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_pipeline.kernels import path_counts, reference
from sae_pipeline.sae.kinds import Stepper, nested_prefixes, stepper, unit_rows
from sae_pipeline.sae.kinds.topk import TopKStep
from sae_pipeline.schema.kinds import KINDS, Kind
from tests.support.operations import ADDS_ATOMICALLY, Operations

D_IN, D_SAE, N_TRUE, K, BATCH = 64, 256, 96, 4, 200
LAMBDA = {"relu": 2.0, "gated": 2.5, "jumprelu": 1.0}
PREFIXES = (128, 256)
LEARNING_RATE = 4e-3


def rows(n: int, seed: int) -> Tensor:
    """Directions of length 1 [n, D_IN]."""
    return unit_rows(n, D_IN, torch.Generator().manual_seed(seed))


def known_features(n: int, seed: int) -> Tensor:
    """Tokens [n, D_IN]: positive mixtures of a few of N_TRUE directions, and noise; mean square length D_IN."""
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, N_TRUE, generator=generator) < 4 / N_TRUE
    x = (on * (0.5 + torch.rand(on.shape, generator=generator))) @ rows(N_TRUE, 5)
    x = x - x.mean(0)
    x = x + x.std() / 3 * torch.randn(x.shape, generator=generator)
    return x * (D_IN / x.square().sum(1).mean()).sqrt()


def fresh(kind: Kind, **options: Any) -> Stepper:
    """The step of a kind at its start."""
    return stepper(kind, rows(D_SAE, 7), K, PREFIXES, **options)


class Jump(torch.autograd.Function):
    """pre where pre > θ, and the step function H(pre − θ), with the paper's pseudo-derivatives for θ."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Both functions, [n, d_sae] each."""
        ctx.save_for_backward(pre, theta)
        ctx.width = width
        on = (pre > theta).float()
        return pre * on, on

    @staticmethod
    def backward(ctx: Any, g_f: Tensor, g_on: Tensor) -> tuple[Tensor, Tensor, None]:
        """The straight-through estimate, with a rectangle of width `width`."""
        pre, theta = ctx.saved_tensors
        kernel = ((pre - theta).abs() < ctx.width / 2) / ctx.width
        return g_f * (pre > theta), -(kernel * (theta * g_f + g_on)).sum(0), None


class Autograd:
    """The algorithm of a kind as in its paper, dense and in fp32, with the optimiser of sae/kinds/engine.py."""

    def __init__(self, kind: Kind, start: Stepper) -> None:
        self.kind, self.beta1, self.width = kind, getattr(start, "beta1", 0.0), getattr(start, "bandwidth", 0.0)
        self.weight_decay = getattr(start, "weight_decay", 0.0)
        names = ("W_enc", "b_enc", "W_dec", "b_dec", "log_threshold", "stretch", "shift")
        self.p = {name: start.state_dict()[name].clone() for name in names if name in start.state_dict()}
        self.m, self.v, self.n_steps = ({name: torch.zeros(()) for name in self.p} for _ in range(3))
        self.least = torch.zeros(())
        self.steps = 0

    def losses(self, p: dict[str, Tensor], x: Tensor, lam: float) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, f, values that are positive where an entry is active for the optimiser)."""
        pre = x @ p["W_enc"].T + p["b_enc"]
        f, penalty = torch.relu(pre), torch.zeros(())
        listed = f
        if self.kind == "relu":
            penalty = lam * f.sum()
        elif self.kind == "topk":
            f = listed = torch.where(f >= f.topk(K).values[:, -1:], f, 0.0)
        elif self.kind in ("batchtopk", "matryoshka"):
            cut = f.flatten().topk(K * len(x)).values[-1].detach()
            self.least = cut if self.steps == 0 else self.least.lerp(cut, 0.02)
            f = listed = torch.where(f >= cut, f, 0.0)
        elif self.kind == "jumprelu":
            f, on = Jump.apply(pre, p["log_threshold"].exp(), self.width)
            listed, penalty = f, lam * on.sum()
        else:
            gate, f = f, torch.where(pre > 0, torch.relu(p["stretch"].exp() * f + p["shift"]), 0.0)
            held = gate @ p["W_dec"].detach() + p["b_dec"].detach()
            penalty = lam * gate.sum() + (held - x).square().sum()
        sizes = PREFIXES if self.kind == "matryoshka" else (D_SAE,)
        squared = [(f[:, :m] @ p["W_dec"][:m] + p["b_dec"] - x).square().sum() for m in sizes]
        return (torch.stack(squared).mean() + penalty) / len(x), f, listed

    def step(self, x: Tensor, lr: float, lam: float) -> None:
        """Take a step of the documented optimiser along the gradients of autograd."""
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in self.p.items()}
        loss, _, listed = self.losses(leaves, x, lam)
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        self.steps += 1
        active = (listed > 0).any(0)
        W_dec = self.p["W_dec"]
        gradients["W_dec"] -= (gradients["W_dec"] * W_dec).sum(1, keepdim=True) * W_dec
        self.p["W_enc"] *= 1 - lr * self.weight_decay * active[:, None]
        for name, g in gradients.items():
            if name == "b_dec":
                self._adam(name, g[None], torch.ones(1, dtype=torch.bool), lr, 0.9, per_row=False)
            else:
                rule = active if name in ("W_enc", "W_dec", "b_enc") else g != 0
                beta1 = self.beta1 if name in ("W_enc", "W_dec", "b_enc") else 0.0
                self._adam(name, g.reshape(D_SAE, -1), rule, lr, beta1, per_row=True)
        W_dec /= W_dec.norm(dim=1, keepdim=True)

    def _adam(self, name: str, g: Tensor, on: Tensor, lr: float, beta1: float, per_row: bool) -> None:
        square = g.square().mean(1, keepdim=True) if per_row else g.square()
        self.n_steps[name] = n_steps = self.n_steps[name] + on[:, None]
        self.m[name] = m = torch.where(on[:, None], beta1 * self.m[name] + (1 - beta1) * g, self.m[name])
        self.v[name] = v = torch.where(on[:, None], 0.999 * self.v[name] + 0.001 * square, self.v[name])
        root = v / (1 - 0.999 ** n_steps.clamp_min(1))
        root = (torch.maximum(root, square) if per_row else root).sqrt() + 1e-8
        move = lr * m / (1 - beta1 ** n_steps.clamp_min(1)) / root * on[:, None]
        self.p[name] -= move.reshape(self.p[name].shape)


def batches(x: Tensor, epochs: int) -> list[tuple[Tensor, float]]:
    """Shuffled batches, each with its factor on the learning rate."""
    order = torch.cat([torch.randperm(len(x), generator=torch.Generator().manual_seed(s)) for s in range(epochs)])
    parts = order.split(BATCH)
    return [(x[part], min(1.0, (i + 1) / 20, (len(parts) - i) / 60)) for i, part in enumerate(parts)]


def train(step: Callable[[Tensor, float, float], Any], kind: Kind, x: Tensor, epochs: int) -> None:
    """Train for whole passes over x."""
    for batch, factor in batches(x, epochs):
        step(batch, LEARNING_RATE * factor, LAMBDA.get(kind, 0.0))


def quality(model: Stepper, kind: Kind, x: Tensor) -> tuple[float, float]:
    """(FVU, L0) of the trained weights."""
    weights = model.weights()
    pre = x @ weights.W_enc + weights.b_enc
    f = torch.relu(pre) * (pre > weights.threshold)
    if kind == "topk":
        f = torch.where(f >= f.topk(K).values[:, -1:], f, 0.0)
    error = (f @ weights.W_dec + weights.b_dec - x).square().sum()
    return float(error / x.square().sum()), float((f > 0).sum() / len(x))


@pytest.mark.parametrize("kind", KINDS)
def test_parity(kind: Kind) -> None:
    """The fast step in bf16 reaches the held-out FVU and L0 of fp32 autograd within 1 %.

    The start is near the truth, so that rounding does not decide which of the true features are found.
    """
    x, held_out = known_features(20_000, 6), known_features(8_000, 8)
    torch.manual_seed(0)
    start = torch.cat([rows(N_TRUE, 5) + 0.1 * torch.randn(N_TRUE, D_IN), rows(D_SAE - N_TRUE, 7)])
    start /= start.norm(dim=1, keepdim=True)
    start = start[torch.randperm(D_SAE)]
    fast, slow = (stepper(kind, start, K, PREFIXES, precision=precision) for precision in ("bf16", "fp32"))
    autograd = Autograd(kind, slow)
    train(fast.step, kind, x, 2)
    train(autograd.step, kind, x, 2)
    slow.load_state_dict(slow.state_dict() | autograd.p | {"least": autograd.least})
    fvu, l0 = quality(fast, kind, held_out)
    slow_fvu, slow_l0 = quality(slow, kind, held_out)
    assert fvu == pytest.approx(slow_fvu, rel=0.01)
    assert l0 == pytest.approx(slow_l0, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_finds_known_features(kind: Kind) -> None:
    """From random rows, the decoder learns the true directions."""
    fast = fresh(kind)
    train(fast.step, kind, known_features(30_000, 6), 3)
    matched = (rows(N_TRUE, 5) @ fast.weights().W_dec.T).max(1).values
    assert matched.mean() > 0.95


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_autograd(kind: Kind, backend: str) -> None:
    """Three steps in fp32 move every parameter as autograd does.

    For kinds that fix k two rows may differ, where rounding decides which entry is the k-th largest.
    """
    x = known_features(3 * BATCH, 1)
    fast = fresh(kind, precision="fp32", backend=backend)
    autograd = Autograd(kind, fast)
    for batch in x.split(BATCH):
        fast.step(batch, 3e-3, LAMBDA.get(kind, 0.0))
        autograd.step(batch, 3e-3, LAMBDA.get(kind, 0.0))
    for name, expected in autograd.p.items():
        close = torch.isclose(fast.state_dict()[name], expected, rtol=1e-3, atol=2e-4).reshape(len(expected), -1).all(1)
        assert close.sum() >= len(expected) - (2 if kind in ("topk", "batchtopk", "matryoshka") else 0), name


@pytest.mark.parametrize("kind", KINDS)
def test_resumes_bit_for_bit(kind: Kind) -> None:
    """A state that is loaded into a fresh step continues with the same bits."""
    x = known_features(6 * BATCH, 2).split(BATCH)
    first, second = fresh(kind), stepper(kind, rows(D_SAE, 8), K, PREFIXES)
    for batch in x[:3]:
        first.step(batch, 1e-3, 1.0)
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for batch in x[3:]:
        assert first.step(batch, 1e-3, 1.0).loss == second.step(batch, 1e-3, 1.0).loss
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_topk_is_exact(backend: str) -> None:
    """Exactly the k largest entries of every token are active, however high the running threshold is."""
    x = known_features(100, 3)
    x[:40] *= 0.01  # these have no entry above the threshold that suits the others
    step = TopKStep(rows(D_SAE, 7), K, backend=backend)
    for _ in range(4):
        f = torch.relu(x @ step.features.W_enc.T + step.features.b_enc)
        expected = int(f.gt(0).sum(1).clamp_max(K).sum())
        stats = step.step(x, 0.0, 0.0)
        assert stats.active == expected
        assert stats.squared == pytest.approx(squared_error(step, f), rel=0.01)


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka"])
def test_first_step_lists_few_entries(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a list of all positive entries would be too long, the first step makes a short one and ends the same."""
    x, listed = known_features(4 * BATCH, 1), []

    def encode(x: Tensor, *arguments: Any) -> Any:
        lists = original(x, *arguments)
        listed.append(len(lists.cols))
        return lists

    original = reference.encode_by_feature
    monkeypatch.setattr(reference, "encode_by_feature", encode)
    states = []
    for most in (1 << 26, 1 << 16):
        monkeypatch.setattr("sae_pipeline.sae.kinds.topk._MOST", most)
        monkeypatch.setattr("sae_pipeline.sae.kinds.topk._SOME", most >> 4)
        step = fresh(kind, precision="fp32", backend="reference")
        listed.clear()
        step.step(x, LEARNING_RATE, 0.0)
        states.append((max(listed), step.state_dict()))
    (every, expected), (few, found) = states
    assert every > 100 * len(x) and few < every / 4
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def squared_error(step: TopKStep, f: Tensor) -> float:
    """Σ‖x̂ − x‖² over the tokens of `test_topk_is_exact`, with the k largest of a dense f [n, d_sae]."""
    x = known_features(100, 3)
    x[:40] *= 0.01
    top = torch.where(f >= f.topk(K).values[:, -1:], f, 0.0)
    return float((top @ step.features.W_dec + step.b_dec - x).square().sum())


@pytest.mark.parametrize("kind", KINDS)
def test_sums_repeat(kind: Kind) -> None:
    """Plain torch, which also runs where a card's kernels cannot, adds in an order that timing does not decide."""
    step = fresh(kind, backend="reference")
    with Operations() as run:
        step.step(known_features(BATCH, 1), LEARNING_RATE, LAMBDA.get(kind, 0.0))
    assert run.names and not run.names & ADDS_ATOMICALLY


def test_kinds_run_sparse() -> None:
    """The step of every kind works on lists of active entries, as `path_counts` shows."""
    x = known_features(BATCH, 4)
    for kind in KINDS:
        before = sum(count for path, count in path_counts.items() if path.startswith("step.sparse"))
        fresh(kind).step(x, 1e-3, 1.0)
        after = sum(count for path, count in path_counts.items() if path.startswith("step.sparse"))
        assert after > before, kind


def test_prefixes() -> None:
    """Nested sizes rise to d_sae in multiples of 32."""
    assert nested_prefixes(4096) == (128, 512, 4096)
    assert nested_prefixes(300) == (32, 300)
