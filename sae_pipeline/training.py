"""Training SAEs: all sizes from one reading of the activations.

Recipe `default` (after Bricken et al. 2023 and the notes in docs/): per token

    loss = Σ(x − x̂)² + λ·Σf,    ‖W_dec[i]‖ = 1,    λ = L1_COEFFICIENT · λ_unit(d_in, d_sae)

with W_enc = W_decᵀ and a negative b_enc at the start, so that training is sparse from its first step.

Recipe `seed` is what a notebook would write: mean over d_in of the squared error + L1_COEFFICIENT·Σf, ordinary
initialisation, no constraint on W_dec. It is not sparse; it is kept for comparison.
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
from .sae import SaeConfig, SparseAutoencoder, size_name

Recipe = Literal["default", "seed"]
_ENCODER_BIAS = -2.0  # x_norm along any unit direction has variance 1 on average
_WARM_UP, _DECAY = 0.05, 0.3  # shares of all steps
_HISTORY_POINTS = 100


def sparsity_weight(recipe: Recipe, l1_coefficient: float, d_in: int, d_sae: int) -> float:
    """λ, the weight of Σf against Σ(x−x̂)².

    seed: λ = l1 · d_in, since its squared error is averaged over d_in.
    default: λ = l1 · λ_unit with λ_unit = 150·√d_in·(d_sae/4096)^0.15. √d_in because f and the residual grow with
    ‖x_norm‖ = √d_in; the power of d_sae keeps L0 level across sizes. Both constants chosen on dev.
    """
    if recipe == "seed":
        return l1_coefficient * d_in
    return float(l1_coefficient * 150.0 * d_in**0.5 * (d_sae / 4096) ** 0.15)


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
            learning_rate = config.learning_rate * _schedule(step, n_steps)
            for run in runs:
                run.step(x, learning_rate)
            bar.update(len(x))
            if step % max(1, n_steps // _HISTORY_POINTS) == 0 or step == n_steps - 1:
                bar.set_postfix_str(" | ".join(run.record(bar.n) for run in runs), refresh=False)
    return [run.finish() for run in runs]


def _schedule(step: int, n_steps: int) -> float:
    """Learning-rate factor: linear warm-up, level, linear decay to 0; short trainings have all three."""
    done = (step + 1) / n_steps
    return min(1.0, done / _WARM_UP, (1.0 - step / n_steps) / _DECAY)


class _Run:
    """One SAE in training: its parameters, Adam, and running figures."""

    def __init__(self, template: SaeConfig, mean: Tensor, scale: Tensor, config: TrainConfig, device: torch.device):
        self.sae = SparseAutoencoder(template, mean, scale).to(device)
        self.unit_norm = template.recipe == "default"
        self.sparsity_weight = template.sparsity_weight
        generator = torch.Generator().manual_seed(config.seed)
        d_in, d_sae = template.d_in, template.d_sae
        with torch.no_grad():
            if self.unit_norm:
                rows = torch.randn(d_sae, d_in, generator=generator)
                self.sae.W_dec.copy_(rows / rows.norm(dim=1, keepdim=True))
                self.sae.W_enc.copy_(self.sae.W_dec.T)
                self.sae.b_enc.fill_(_ENCODER_BIAS)
            else:  # torch.nn.Linear's own
                for weight, fan_in in ((self.sae.W_enc, d_in), (self.sae.W_dec, d_sae)):
                    weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * fan_in**-0.5)
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=config.learning_rate, fused=True)
        self.curve = TrainingCurve()
        self.seconds, self.tokens = 0.0, 0
        self.error = torch.zeros((), device=device)
        self.power = torch.zeros((), device=device)
        self.active = torch.zeros((), device=device)
        self.seen = 0
        self.fired = torch.zeros(d_sae, dtype=torch.bool, device=device)

    def step(self, x: Tensor, learning_rate: float) -> None:
        """One Adam step on x_norm [batch, d_in]."""
        started = time.perf_counter()
        sae = self.sae
        with autocast(x.device, "auto"):
            f = torch.relu(x @ sae.W_enc + sae.b_enc)
            residual = f @ sae.W_dec + sae.b_dec - x
        error = residual.float().square().sum()
        loss = (error + self.sparsity_weight * f.sum(dtype=torch.float32)) / len(x)
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        with torch.no_grad():
            if self.unit_norm:
                sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
            active = f > 0
            self.fired |= active.any(0)
            self.active += active.sum()
            self.error += error.detach()
            self.power += x.square().sum()
        self.seen += len(x)
        self.tokens += len(x)
        self.seconds += time.perf_counter() - started

    def record(self, tokens: int) -> str:
        """Add a point to the curve and return the figures in a few characters."""
        l0 = float(self.active) / self.seen
        fvu = float(self.error / self.power)
        name = size_name(self.sae.config.d_sae)
        if not fvu < 1e6:
            raise UserError(f"Training the {name} SAE diverged; use a smaller --learning-rate.")
        if l0 == 0.0:
            raise UserError(f"All features of the {name} SAE are dead; use a smaller --l1-coefficient.")
        self.curve.tokens.append(tokens)
        self.curve.l0.append(l0)
        self.curve.fvu.append(fvu)
        silent = 1.0 - float(self.fired.float().mean())
        self.error.zero_()
        self.power.zero_()
        self.active.zero_()
        self.fired.zero_()
        self.seen = 0
        return f"{name} L0 {l0:.0f} FVU {fvu:.3f} silent {silent:.0%}"

    def finish(self) -> TrainedSae:
        """Put the trained weights into the units of sae.py: unit-norm decoder rows."""
        sae = self.sae.requires_grad_(False)
        norm = sae.W_dec.norm(dim=1).clamp_min(1e-12)
        sae.W_dec.div_(norm[:, None])
        sae.W_enc.mul_(norm)
        sae.b_enc.mul_(norm)
        return TrainedSae(sae, self.curve, self.seconds, self.tokens / self.seconds)
