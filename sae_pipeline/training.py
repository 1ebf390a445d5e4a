"""Training SAEs: all sizes from one reading of the activations.

Recipe `default` (after Bricken et al. 2023): per token

    loss = Σ(x − x̂)² + λ·Σf,    ‖W_dec[i]‖ = 1,    λ = L1_COEFFICIENT · λ_unit(d_in, d_sae)

with W_enc = W_decᵀ and a negative b_enc at the start, so that training is sparse from its first step. Its step runs
on the active entries alone: see kernels/step.py.

Recipe `seed` is what a notebook would write: mean over d_in of the squared error + L1_COEFFICIENT·Σf, ordinary
initialisation, Adam, no constraint on W_dec. It is not sparse; it is kept for comparison.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .config import TrainConfig
from .device import autocast
from .errors import UserError
from .kernels import SparseStep, StepStats
from .sae import SaeConfig, SparseAutoencoder, size_name

Recipe = Literal["default", "seed"]
_ENCODER_BIAS = -2.0  # x_norm along any unit direction has variance 1 on average
_WARM_UP, _DECAY = 0.05, 0.3  # shares of all steps
LEARNING_RATE: dict[Recipe, float] = {"default": 4e-3, "seed": 1e-3}  # their optimisers differ
_HISTORY_POINTS = 100


def sparsity_weight(recipe: Recipe, l1_coefficient: float, d_in: int, d_sae: int) -> float:
    """λ, the weight of Σf against Σ(x−x̂)².

    seed: λ = l1 · d_in, since its squared error is averaged over d_in.
    default: λ = l1 · λ_unit with λ_unit = 72·√d_in·(d_sae/4096)^0.28. √d_in because f and the residual grow with
    ‖x_norm‖ = √d_in; the power of d_sae keeps L0 level across sizes. Both constants chosen on dev.
    """
    if recipe == "seed":
        return l1_coefficient * d_in
    return float(l1_coefficient * 72.0 * d_in**0.5 * (d_sae / 4096) ** 0.28)


@dataclass
class TrainingCurve:
    """What was seen during training, averaged between points."""

    tokens: list[int] = field(default_factory=list)
    l0: list[float] = field(default_factory=list)
    fvu: list[float] = field(default_factory=list)


@dataclass
class TrainedSae:
    """An SAE and how its training went."""

    sae: SparseAutoencoder
    curve: TrainingCurve
    seconds: float
    tokens_per_second: float


def batches(acts: Tensor, batch_size: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """Shuffled batches [batch_size, d_in] over `epochs` passes; the last, smaller batch of a pass is kept."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(acts), generator=generator).split(batch_size):
            yield acts[rows]


def train_saes(
    acts: Tensor, mean: Tensor, scale: Tensor, templates: list[SaeConfig], config: TrainConfig, device: torch.device
) -> list[TrainedSae]:
    """Train one SAE per template on activations [n_tokens, d_in] in the classifier's units.

    Raises UserError when there are fewer tokens than one batch or when an SAE dies or diverges.
    """
    n_steps = -(-len(acts) // config.batch_size) * config.num_epochs
    if len(acts) < config.batch_size:
        raise UserError(
            f"{len(acts)} tokens are fewer than one batch of {config.batch_size}; use more headlines or --batch-size."
        )
    runs = [_Run(template, mean, scale, config, device) for template in templates]
    mean, scale = mean.to(device), scale.to(device)
    total = len(acts) * config.num_epochs
    with tqdm(total=total, desc="train", unit="tok", unit_scale=True) as bar:
        for step, batch in enumerate(batches(acts, config.batch_size, config.num_epochs, config.seed)):
            x = (batch.to(device).float() - mean) / scale
            for run in runs:
                run.step(x, learning_rate_factor(step, n_steps))
            bar.update(len(x))
            if step % max(1, n_steps // _HISTORY_POINTS) == 0 or step == n_steps - 1:
                bar.set_postfix_str(" | ".join(run.record(bar.n) for run in runs), refresh=False)
    return [run.finish() for run in runs]


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Learning-rate factor: linear warm-up, level, linear decay to 0; short trainings have all three."""
    done = (step + 1) / n_steps
    return min(1.0, done / _WARM_UP, (1.0 - step / n_steps) / _DECAY)


class _Run:
    """One SAE in training, and its running figures."""

    def __init__(
        self, template: SaeConfig, mean: Tensor, scale: Tensor, config: TrainConfig, device: torch.device
    ) -> None:
        self.sae = SparseAutoencoder(template, mean, scale).to(device)
        self.name = size_name(template.d_sae)
        self.learning_rate = config.learning_rate or LEARNING_RATE[template.recipe]
        generator = torch.Generator().manual_seed(config.seed)
        rows = torch.randn(template.d_sae, template.d_in, generator=generator)
        rows /= rows.norm(dim=1, keepdim=True)
        self.stepper: SparseStep | _NotebookStep = (
            SparseStep(rows.to(device), _ENCODER_BIAS)
            if template.recipe == "default"
            else _NotebookStep(self.sae, generator)
        )
        self.curve = TrainingCurve()
        self.seconds = 0.0
        self.tokens = 0
        self.recent: list[StepStats] = []

    def step(self, x: Tensor, rate: float) -> None:
        """One step on x_norm [batch, d_in] at `rate` times the learning rate."""
        started = time.perf_counter()
        stats = self.stepper.step(x, self.learning_rate * rate, self.sae.config.sparsity_weight)
        self.seconds += time.perf_counter() - started
        self.tokens += stats.n_tokens
        self.recent.append(stats)

    def record(self, tokens: int) -> str:
        """Add a point to the curve and return the figures in a few characters."""
        l0 = sum(s.active for s in self.recent) / sum(s.n_tokens for s in self.recent)
        fvu = sum(s.squared for s in self.recent) / sum(s.power for s in self.recent)
        fired = torch.stack([s.counts for s in self.recent]).sum(0) > 0
        if not fvu < 1e6:
            raise UserError(f"Training the {self.name} SAE diverged; use a smaller --learning-rate.")
        if l0 == 0.0:
            raise UserError(f"All features of the {self.name} SAE are dead; use a smaller --l1-coefficient.")
        self.curve.tokens.append(tokens)
        self.curve.l0.append(l0)
        self.curve.fvu.append(fvu)
        self.recent.clear()
        return f"{self.name} L0 {l0:.0f} FVU {fvu:.3f} silent {1 - float(fired.float().mean()):.0%}"

    def finish(self) -> TrainedSae:
        """Put the trained weights into the units of sae.py: unit-norm decoder rows."""
        sae = self.sae.requires_grad_(False)
        if isinstance(self.stepper, SparseStep):
            features = self.stepper.features
            sae.W_enc.copy_(features.W_enc.T)
            sae.b_enc.copy_(features.b_enc)
            sae.W_dec.copy_(features.W_dec)
            sae.b_dec.copy_(self.stepper.b_dec)
        norm = sae.W_dec.norm(dim=1).clamp_min(1e-12)
        sae.W_dec.div_(norm[:, None])
        sae.W_enc.mul_(norm)
        sae.b_enc.mul_(norm)
        return TrainedSae(sae, self.curve, self.seconds, self.tokens / self.seconds)


class _NotebookStep:
    """The step of the `seed` recipe: autograd, Adam, torch.nn.Linear's own initialisation."""

    def __init__(self, sae: SparseAutoencoder, generator: torch.Generator) -> None:
        with torch.no_grad():
            for weight, fan_in in ((sae.W_enc, sae.config.d_in), (sae.W_dec, sae.config.d_sae)):
                weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * fan_in**-0.5)
        self.sae = sae
        self.adam = torch.optim.Adam(sae.parameters(), fused=True)

    def step(self, x: Tensor, lr: float, l1: float) -> StepStats:
        """Move the parameters by one step on x_norm [n_tokens, d_in] with λ = `l1`."""
        sae = self.sae
        with autocast(x.device, "auto"):
            f = torch.relu(x @ sae.W_enc + sae.b_enc)
            residual = f @ sae.W_dec + sae.b_dec - x
        squared = residual.float().square().sum()
        loss = (squared + l1 * f.sum(dtype=torch.float32)) / len(x)
        self.adam.param_groups[0]["lr"] = lr
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        counts = (f.detach() > 0).sum(0)
        return StepStats(len(x), loss.item(), squared.item(), x.square().sum().item(), int(counts.sum()), counts)
