"""Training SAEs: all sizes from one reading of the activations.

Recipe `default` (after Bricken et al. 2023): per token

    loss = Σ(x − x̂)² + λ·Σf,    ‖W_dec[i]‖ = 1,    λ = L1_COEFFICIENT · λ_unit(d_in, d_sae)

with W_enc = W_decᵀ and a negative b_enc at the start, so that training is sparse from its first step. Its step runs
on the active entries alone: see kinds/engine.py. The other kinds of SAE stand in kinds/; in all of them the squared
error is summed over d_in and decoder rows have length 1.

Recipe `seed` is what a notebook would write: mean over d_in of the squared error + L1_COEFFICIENT·Σf, ordinary
initialisation, Adam, no constraint on W_dec. It is not sparse; it is kept for comparison.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .config import TrainConfig
from .errors import UserError
from .kinds import NotebookStep, Stepper, StepStats, stepper, unit_rows
from .sae import SaeConfig, SparseAutoencoder, size_name
from .schema import Kind

Recipe = Literal["default", "seed"]
_WARM_UP, _DECAY = 0.05, 0.3  # shares of all steps
_HISTORY_POINTS = 100
_STEERING = 10.0  # of λ towards a target L0, per training


def sparsity_weight(recipe: Recipe, l1_coefficient: float, d_in: int, d_sae: int, kind: Kind = "relu") -> float:
    """λ, the weight of Σf (gated: Σgate; jumprelu: L0) against Σ(x−x̂)²; 0 for the kinds that fix k.

    seed: λ = l1 · d_in, since its squared error is averaged over d_in.
    default: λ = l1 · λ_unit with λ_unit = 72·√d_in·(d_sae/4096)^0.28. √d_in because f and the residual grow with
    ‖x_norm‖ = √d_in; the power of d_sae keeps L0 level across sizes. jumprelu: d_in instead of √d_in, as L0 has no
    unit. All constants chosen on dev.
    """
    if recipe == "seed":
        return l1_coefficient * d_in
    constant, power = {"relu": (72.0, 0.5), "gated": (72.0, 0.5), "jumprelu": (5.0, 1.0)}.get(kind, (0.0, 1.0))
    return float(l1_coefficient * constant * d_in**power * (d_sae / 4096) ** 0.28)


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
                run.step(x, learning_rate_factor(step, n_steps), n_steps)
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
        self.stepper = _stepper(template, torch.Generator().manual_seed(config.seed), device)
        self.learning_rate = config.learning_rate or self.stepper.learning_rate
        self.sparsity = Sparsity(template.sparsity_weight, config.target_l0)
        self.curve = TrainingCurve()
        self.seconds = 0.0
        self.tokens = 0
        self.recent: list[StepStats] = []

    def step(self, x: Tensor, rate: float, n_steps: int) -> None:
        """One of `n_steps` steps on x_norm [batch, d_in], at `rate` times the learning rate."""
        started = time.perf_counter()
        stats = self.stepper.step(x, self.learning_rate * rate, self.sparsity.weight)
        self.sparsity.steer(stats.l0, n_steps)
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
        """Put the trained weights into an SAE; see sae.py for its units."""
        sae = self.sae.requires_grad_(False)
        sae.config = sae.config.model_copy(update={"sparsity_weight": self.sparsity.weight})
        for name, tensor in self.stepper.weights()._asdict().items():
            getattr(sae, name).copy_(tensor)
        return TrainedSae(sae, self.curve, self.seconds, self.tokens / self.seconds)


def _stepper(config: SaeConfig, generator: torch.Generator, device: torch.device) -> Stepper:
    if config.recipe == "seed":
        return NotebookStep(config.d_in, config.d_sae, generator, device)
    rows = unit_rows(config.d_sae, config.d_in, generator).to(device)
    return stepper(config.kind, rows, config.k, config.prefixes)


class Sparsity:
    """λ during training: as given, or steered so that L0 comes to a target."""

    def __init__(self, weight: float, target_l0: float | None) -> None:
        """`weight` is λ at the start; it stays where there is no target."""
        self.weight, self.target_l0 = weight, target_l0

    def steer(self, l0: float, n_steps: int) -> None:
        """After one of `n_steps` steps with this L0: λ grows where L0 is too high, by at most a twentieth."""
        if self.target_l0 is None or self.weight == 0.0:
            return
        error = math.log(max(l0, 1e-3) / self.target_l0)
        self.weight *= math.exp(max(-0.05, min(0.05, _STEERING / n_steps * error)))
