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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.batches import Tokens, batches, steps_per_epoch
from sae_pipeline.artefacts.checkpoints import Checkpoint
from sae_pipeline.config import TrainConfig
from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder, size_name
from sae_pipeline.sae.kinds import ALONE, Group, Stepper, stepper, unit_rows
from sae_pipeline.sae.kinds.notebook import NotebookStep
from sae_pipeline.schema.kinds import KINDS, Kind

Recipe = Literal["default", "seed"]
_WARM_UP = 0.05  # share of all steps
_HISTORY_POINTS = 100
REVISION = 2  # raised when the same settings come to train another SAE: none of before is taken for it
_ORDER = 0  # seed of the order of the tokens; TrainConfig.seed draws the weights
_STEERING = 10.0  # of λ towards a target L0, per training


def sparsity_weight(recipe: Recipe, l1_coefficient: float, d_in: int, d_sae: int, kind: Kind = "relu") -> float:
    """λ, the weight of the kind's penalty against Σ(x − x̂)²; 0 for the kinds that fix k.

    Recipe seed: λ = l1_coefficient · d_in, since its squared error is averaged over d_in.
    Recipe default: λ = l1_coefficient · λ_unit(d_in, d_sae); see `PenaltyUnit` for the unit of each kind.
    """
    if recipe == "seed":
        return l1_coefficient * d_in
    penalty = KINDS[kind].penalty
    return 0.0 if penalty is None else penalty.weight(l1_coefficient, d_in, d_sae)


@dataclass
class TrainingCurve:
    """What was seen during training, averaged between points."""

    tokens: list[int] = field(default_factory=list)
    l0: list[float] = field(default_factory=list)
    fvu: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)  # share of features that did not fire for one pass of train


@dataclass(frozen=True)
class Job:
    """One SAE to train."""

    name: str  # of its state in the checkpoint: everything that goes into it
    template: SaeConfig
    config: TrainConfig


@dataclass
class TrainedSae:
    """An SAE and how its training went."""

    sae: SparseAutoencoder
    curve: TrainingCurve
    seconds: float
    tokens_per_second: float


def train_saes(
    tokens: Tokens,
    mean: Tensor,
    scale: Tensor,
    jobs: Sequence[Job],
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> list[TrainedSae]:
    """Train every job's SAE from one reading of the activations, given in the classifier's units.

    Passes, batch size and buffer are the first job's. All jobs see the same batches in the same order, whatever their
    seeds, so each ends in the same bits as if it were alone; so does a training that was killed and goes on from its
    checkpoint, which rank 0 of `group` holds. Raises UserError when there are fewer tokens than one batch or when an
    SAE dies or diverges.
    """
    config = jobs[0].config
    if tokens.n_tokens < config.tokens_per_step:
        raise UserError(
            f"{tokens.n_tokens} tokens are fewer than one batch of {config.tokens_per_step}; "
            "use more headlines or --batch-size."
        )
    if not float(scale) > 0.0:
        raise UserError("The activations are the same at every token, or no numbers: there is nothing to learn.")
    runs = [_Run(job, mean, scale, tokens.n_tokens, device, group) for job in jobs]
    n_steps = steps_per_epoch(tokens, config.tokens_per_step) * config.num_epochs
    step = _resume(runs, checkpoint, group)
    mean, scale = mean.to(device), scale.to(device)
    in_memory = config.buffer_mib * 2**20 // (2 * tokens.d_in)
    total, quiet = tokens.n_tokens * config.num_epochs, group.rank != 0
    bar = tqdm(total=total, initial=runs[0].tokens, desc="train", unit="tok", unit_scale=True, disable=quiet)
    with bar:
        for batch in batches(tokens, config.tokens_per_step, config.num_epochs, _ORDER, step, in_memory):
            x = (batch.to(device).float() - mean) / scale
            for run in runs:
                run.step(x, step, n_steps)
            step += 1
            bar.update(len(x))
            if (step - 1) % max(1, n_steps // _HISTORY_POINTS) == 0 or step == n_steps:
                bar.set_postfix_str(" | ".join(run.record() for run in runs), refresh=False)
            if step < n_steps and group.any(checkpoint is not None and checkpoint.due):
                _save(runs, step, checkpoint)
    return [run.finish() for run in runs]


def _save(runs: "list[_Run]", step: int, checkpoint: Checkpoint | None) -> None:
    tensors = {f"{run.name}/{key}": tensor for run in runs for key, tensor in run.tensors().items()}
    if checkpoint is not None:
        checkpoint.save(tensors, {"step": step, "runs": {run.name: run.facts() for run in runs}})


def _resume(runs: "list[_Run]", checkpoint: Checkpoint | None, group: Group) -> int:
    """The step to go on from. One rank has the checkpoint."""
    saved = group.broadcast(None if checkpoint is None else checkpoint.load())
    if saved is None or any(run.name not in saved[1]["runs"] for run in runs):
        return 0
    tensors, facts = saved
    for run in runs:
        prefix = f"{run.name}/"
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        run.load(own, facts["runs"][run.name])
    if group.rank == 0:
        tqdm.write(f"training goes on from its checkpoint at step {facts['step']:,}")
    return int(facts["step"])


def learning_rate_factor(step: int, n_steps: int, decay: float = 0.3) -> float:
    """Learning-rate factor: linear warm-up, level, linear decay to 0 over the last `decay` of all steps."""
    done = (step + 1) / n_steps
    return min(1.0, done / _WARM_UP, (1.0 - step / n_steps) / decay)


class _Run:
    """One SAE in training, and its running figures."""

    def __init__(
        self, job: Job, mean: Tensor, scale: Tensor, one_pass: int, device: torch.device, group: Group = ALONE
    ) -> None:
        template, config = job.template, job.config
        self.template, self.mean, self.scale, self.group = template, mean, scale, group
        self.name, self.size = job.name, size_name(template.d_sae)
        self.stepper = _stepper(template, torch.Generator().manual_seed(config.seed), device, group)
        self.learning_rate = config.learning_rate or self.stepper.learning_rate
        self.sparsity = Sparsity(template.sparsity_weight, config.target_l0)
        self.curve = TrainingCurve()
        self.one_pass = one_pass
        self.seconds = 0.0
        self.tokens = 0
        self.recent = {"tokens": 0, "active": 0, "squared": 0.0, "power": 0.0}  # since the curve's last point
        self.last_fired = torch.zeros(template.d_sae, dtype=torch.int64, device=device)  # tokens seen by then

    def step(self, x: Tensor, step: int, n_steps: int) -> None:
        """Step number `step` of `n_steps` on x_norm [batch, d_in]."""
        started = time.perf_counter()
        rate = learning_rate_factor(step, n_steps, self.stepper.decay)
        try:
            own = self.stepper.step(self.group.tokens(x), self.learning_rate * rate, self.sparsity.weight)
            stats = self.group.stats(own, self.template.d_sae)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"The device's memory is too small for the {self.size} SAE beside the others; "
                "train fewer sizes at a time (--latent-dims) or use --device cpu."
            ) from error
        if not math.isfinite(stats.power):
            raise UserError("The activations hold NaN or infinite numbers; extract them again, with --precision fp32.")
        self.sparsity.steer(stats.l0, n_steps)
        self.seconds += time.perf_counter() - started
        self.tokens += stats.n_tokens
        self.last_fired.masked_fill_(stats.counts > 0, self.tokens)
        for key, value in zip(self.recent, (stats.n_tokens, stats.active, stats.squared, stats.power), strict=True):
            self.recent[key] += value

    def record(self) -> str:
        """Add a point to the curve and return the figures in a few characters."""
        recent = self.recent
        if not math.isfinite(recent["power"]):
            raise UserError("The activations hold NaN or infinite numbers; extract them again.")
        l0 = recent["active"] / recent["tokens"]
        fvu = recent["squared"] / recent["power"]
        if not fvu < 1e6:
            raise UserError(f"Training the {self.size} SAE diverged; use a smaller --learning-rate.")
        if l0 == 0.0:
            raise UserError(f"All features of the {self.size} SAE are dead; use a smaller --l1-coefficient.")
        quiet = self.tokens - self.last_fired >= min(self.one_pass, self.tokens)
        self.curve.tokens.append(self.tokens)
        self.curve.l0.append(l0)
        self.curve.fvu.append(fvu)
        self.curve.silent.append(float(quiet.float().mean()))
        self.recent = dict.fromkeys(recent, 0)
        return f"{self.size} L0 {l0:.0f} FVU {fvu:.3f} dead {self.curve.silent[-1]:.0%}"

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the next step depends on."""
        state = self.group.whole_state(self.stepper.state_dict(), self.template.d_sae)
        return {**state, "last_fired": self.last_fired}

    def facts(self) -> dict[str, Any]:
        """The numbers that the next step and the report depend on."""
        return {
            "sparsity": self.sparsity.weight,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "recent": self.recent,
            "curve": asdict(self.curve),
        }

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Take over what `tensors` and `facts` gave."""
        self.last_fired.copy_(tensors.pop("last_fired"))
        self.stepper.load_state_dict(self.group.own_state(tensors, self.template.d_sae))
        self.sparsity.weight, self.seconds, self.tokens = facts["sparsity"], facts["seconds"], facts["tokens"]
        self.recent, self.curve = facts["recent"], TrainingCurve(**facts["curve"])

    def finish(self) -> TrainedSae:
        """Put the trained weights into an SAE; see sae.py for its units."""
        config = self.template.model_copy(update={"sparsity_weight": self.sparsity.weight})
        sae = SparseAutoencoder(config, self.mean, self.scale).to(self.last_fired.device).requires_grad_(False)
        weights = self.group.weights(self.stepper.weights(), config.d_sae)
        for name, tensor in weights._asdict().items():
            getattr(sae, name).copy_(tensor)
        return TrainedSae(sae, self.curve, self.seconds, self.tokens / self.seconds)


def _stepper(config: SaeConfig, generator: torch.Generator, device: torch.device, group: Group) -> Stepper:
    if config.recipe == "seed":
        if group.size > 1:
            raise UserError("The seed recipe trains in one process; leave torchrun out or use --recipe default.")
        return NotebookStep(config.d_in, config.d_sae, generator, device)
    own = group.features(config.d_sae)
    rows = unit_rows(config.d_sae, config.d_in, generator)[own].to(device)
    spread = torch.rand(config.d_sae, generator=generator)[own].to(device)
    return stepper(config.kind, rows, config.k, config.prefixes, group=group, d_sae=config.d_sae, spread=spread)


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
