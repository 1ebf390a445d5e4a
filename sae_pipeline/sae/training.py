"""Training SAEs: all sizes from one reading of the activations.

Recipe `default` (after Bricken et al. 2023): per token

    loss = Σ(x − x̂)² + λ·Σf,    ‖W_dec[i]‖ = 1,    λ = L1_COEFFICIENT · λ_unit(d_in, d_sae)

with W_enc = W_decᵀ and a negative b_enc at the start, so that training is sparse from its first step. The step works
on the active entries only; see kinds/engine.py. The other kinds of SAE have their own loss, see kinds/. In all of them
the squared error is summed over d_in and decoder rows have length 1.

Recipe `seed` is what a notebook would write: the mean over d_in of the squared error + L1_COEFFICIENT·Σf, ordinary
initialisation, Adam, no constraint on W_dec. It is not sparse and is kept for comparison.
"""

import math
import sys
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
from sae_pipeline.kernels import a_core_for_each_thread, plain_because
from sae_pipeline.machine.clock import StepClock
from sae_pipeline.machine.device import for_training_saes
from sae_pipeline.machine.lanes import Lane, join
from sae_pipeline.machine.memory import out_of_memory
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder, size_name
from sae_pipeline.sae.kinds import Stepper, StepSharing, StepStats, stepper, unit_rows
from sae_pipeline.sae.kinds.notebook import NotebookStep
from sae_pipeline.sae.recommended import passes
from sae_pipeline.schema.kinds import KINDS, Kind
from sae_pipeline.tracking import Tracking, no_tracking

Recipe = Literal["default", "seed"]
Part = Literal["encoder", "decoder"]
_WARM_UP = 0.05  # share of all steps
_HISTORY_POINTS = 100
REVISION = 4  # raised when the same settings come to train another SAE, so that no older SAE is taken for it
_ORDER = 0  # seed of the order of the tokens; TrainConfig.seed draws the weights
_STEERING = 10.0  # how strongly λ follows a target L0, summed over a training


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
    """Figures of a training, averaged between points."""

    tokens: list[int] = field(default_factory=list)  # tokens seen up to the point
    l0: list[float] = field(default_factory=list)
    fvu: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)  # share of features that did not fire for one pass of train


@dataclass(frozen=True)
class Job:
    """One SAE to train."""

    name: str  # of its state in the checkpoint: a hash of everything that goes into it
    template: SaeConfig
    config: TrainConfig
    frozen: Part | None = None  # the directions that stay as they were drawn; biases are learnt

    @property
    def record_name(self) -> str:
        """The name of the training in a tracker."""
        made = self.template
        return f"layer_{made.hookpoint.layer}_{size_name(made.d_sae, made.positions)}-{self.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a tracker shows beside the figures."""
        return self.config.model_dump(mode="json") | self.template.model_dump(mode="json")


@dataclass
class TrainedSae:
    """An SAE and how its training went."""

    sae: SparseAutoencoder
    curve: TrainingCurve
    seconds: float  # spent in the steps
    tokens_per_second: float
    backend: str  # the kernels that the steps ran on; "reference" is plain torch


def train_saes(
    tokens: Tokens,
    mean: Tensor,
    scale: Tensor,
    jobs: Sequence[Job],
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = ONE_PROCESS,
    tracking: Tracking = no_tracking,
) -> list[TrainedSae]:
    """Train the SAEs of all jobs from one reading of the activations, which are in the classifier's units.

    `mean` [d_in] and `scale` [] put them into x_norm. All jobs have the same batch size, passes, buffer and split, and
    see the same batches in the same order, whatever their seeds. So each ends in the same bits as if it were trained
    alone. A training that was killed resumes from its checkpoint and ends in the same bits; only rank 0 is given
    it.

    Raises UserError when there are fewer tokens than one batch, or when an SAE dies or diverges, and ValueError for
    jobs that cannot share a reading.
    """
    config = jobs[0].config
    if len({_reading(job.config, tokens.n_tokens) for job in jobs}) > 1:
        raise ValueError("SAEs with different batch sizes, passes, buffers or splits cannot be trained in one reading.")
    if tokens.n_tokens < config.tokens_per_step:
        raise UserError(
            f"{tokens.n_tokens} tokens are fewer than one batch of {config.tokens_per_step}; "
            "use more headlines or --batch-size."
        )
    if not float(scale) > 0.0:
        raise UserError("The activations are the same at every token, or no numbers: there is nothing to learn.")
    sharing = StepSharing(ranks, config.split)
    wanted, device = device, for_training_saes(device)
    mean, scale = mean.to(device), scale.to(device)
    trainings = [_Training(job, tokens.n_tokens, device, sharing) for job in jobs]
    logs = [tracking(job.record_name, job.settings) for job in jobs]
    n_passes = passes(config, tokens.n_tokens)
    n_steps = steps_per_epoch(tokens, config.tokens_per_step) * n_passes
    step = _resume(trainings, checkpoint, ranks)
    in_memory = config.buffer_mib * 2**20 // (2 * tokens.d_in)
    total, done = tokens.n_tokens * n_passes, trainings[0].progress.tokens
    with tqdm(total=total, initial=done, desc="train", unit="tok", unit_scale=True, disable=not ranks.first) as bar:
        for batch in batches(tokens, config.tokens_per_step, n_passes, _ORDER, step, in_memory, mean.device):
            x = (batch.float() - mean) / scale
            with a_core_for_each_thread():
                for training in trainings:
                    with training.lane.after(x):
                        training.step(x, step, n_steps)
            step += 1
            bar.update(len(x))
            join(training.lane for training in trainings)
            if (step - 1) % max(1, n_steps // _HISTORY_POINTS) == 0 or step == n_steps:
                bar.set_postfix_str(" | ".join(t.progress.add_point() for t in trainings), refresh=False)
                for training, log in zip(trainings, logs, strict=True):
                    log(step, training.figures(step - 1, n_steps))
            if step < n_steps and sharing.any(checkpoint is not None and checkpoint.due):
                _save(trainings, step, checkpoint)
    if ranks.first and any(t.stepper.backend == "reference" and t.job.template.recipe != "seed" for t in trainings):
        _tell_slow(mean.device)
    return [training.finish(mean.to(wanted), scale.to(wanted)) for training in trainings]


def _reading(config: TrainConfig, n_tokens: int) -> tuple[int, int, int, str]:
    """What trainings that share a reading have in common: batch size, passes, buffer, and what ranks share."""
    return config.tokens_per_step, passes(config, n_tokens), config.buffer_mib, config.split


def _tell_slow(device: torch.device) -> None:
    """Say on stderr why a training took longer than it should; the first line about it is far above by now."""
    if reason := plain_because(device):
        tqdm.write(f"Training ran in plain torch on {device}, several times slower, because {reason}.", file=sys.stderr)


def _save(trainings: "list[_Training]", step: int, checkpoint: Checkpoint | None) -> None:
    """Save the state before step number `step`; all ranks take part, the one with the checkpoint writes."""
    tensors = {f"{t.job.name}/{key}": tensor for t in trainings for key, tensor in t.tensors().items()}
    if checkpoint is not None:
        checkpoint.save(tensors, {"step": step, "saes": {t.job.name: t.facts() for t in trainings}})


def _resume(trainings: "list[_Training]", checkpoint: Checkpoint | None, ranks: Ranks) -> int:
    """Load the checkpoint's state, if it holds all trainings; returns the number of the next step."""
    saved = ranks.broadcast(None if checkpoint is None else checkpoint.load())
    if saved is None or any(training.job.name not in saved[1]["saes"] for training in trainings):
        return 0
    tensors, facts = saved
    for training in trainings:
        prefix = f"{training.job.name}/"
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        training.load(own, facts["saes"][training.job.name])
    if ranks.first:
        tqdm.write(f"training goes on from its checkpoint at step {facts['step']:,}")
    return int(facts["step"])


def learning_rate_factor(step: int, n_steps: int, decay: float = 0.3) -> float:
    """Factor on the learning rate: linear warm-up, level, linear decay to 0 over the last `decay` of all steps."""
    done = (step + 1) / n_steps
    return min(1.0, done / _WARM_UP, (1.0 - step / n_steps) / decay)


class _Training:
    """One SAE in training: its step, the learning rate and λ, and its figures."""

    def __init__(self, job: Job, one_pass: int, device: torch.device, sharing: StepSharing) -> None:
        """`one_pass` is the number of tokens in a pass over train."""
        self.job, self.sharing, self.d_sae, self.device = job, sharing, job.template.d_sae, device
        self.stepper = _stepper(job, device, sharing)
        self.frozen = _drawn(self.stepper, job.frozen)
        self.full_rate = job.config.learning_rate or self.stepper.learning_rate
        self.sparsity = Sparsity(job.template.sparsity_weight, job.config.target_l0)
        self.progress = _Progress(self.d_sae, one_pass, device)
        self.clock = StepClock(device)
        self.lane = Lane(device)

    def step(self, x: Tensor, step: int, n_steps: int) -> None:
        """Take step number `step` of `n_steps` on x_norm [n_tokens, d_in]."""
        rate = self._rate(step, n_steps)
        try:
            with self.clock.step():
                own = self.stepper.step(self.sharing.tokens(x), rate, self.sparsity.weight)
                if self.frozen:
                    self.stepper.load_state_dict(self.stepper.state_dict() | self.frozen)
                stats = self.sharing.whole_stats(own, self.d_sae)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise ResourceError(
                f"The device's memory is too small for the {size_name(self.d_sae)} SAE beside the others; "
                "train fewer sizes at a time (--latent-dims) or use --device cpu."
            ) from error
        self.sparsity.steer(stats.l0, n_steps)
        self.progress.add_step(stats)

    def _rate(self, step: int, n_steps: int) -> float:
        return self.full_rate * learning_rate_factor(step, n_steps, self.stepper.decay)

    def figures(self, step: int, n_steps: int) -> dict[str, float]:
        """The figures at the curve's last point, under the names that SAELens reports them by."""
        curve = self.progress.curve
        return {
            "losses/mse_loss": self.progress.squared_error,
            "metrics/explained_variance": 1.0 - curve.fvu[-1],
            "metrics/l0": curve.l0[-1],
            "sparsity/dead_features": round(curve.silent[-1] * self.d_sae),
            "details/current_learning_rate": self._rate(step, n_steps),
            "details/sparsity_coefficient": float(self.sparsity.weight),
            "details/n_training_samples": curve.tokens[-1],
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the whole SAE's state."""
        state = self.sharing.whole_state(self.stepper, self.d_sae)
        return {**state, "last_fired": self.progress.last_fired}

    def facts(self) -> dict[str, Any]:
        """The numbers of the state, as JSON."""
        return {"sparsity": float(self.sparsity.weight), "seconds": self.clock.seconds, **self.progress.facts()}

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Load what `tensors` and `facts` returned."""
        self.progress.load(tensors.pop("last_fired"), facts)
        self.sharing.load_state(self.stepper, tensors, self.d_sae)
        self.sparsity.weight, self.clock = facts["sparsity"], StepClock(self.device, facts["seconds"])

    def finish(self, mean: Tensor, scale: Tensor) -> TrainedSae:
        """Put the trained weights into an SAE; see autoencoder.py for its units."""
        config = self.job.template.model_copy(update={"sparsity_weight": float(self.sparsity.weight)})
        sae = SparseAutoencoder(config, mean, scale).to(mean.device).requires_grad_(False)
        for name, tensor in self.sharing.whole_weights(self.stepper, self.d_sae)._asdict().items():
            getattr(sae, name).copy_(tensor)
        seconds = self.clock.seconds
        return TrainedSae(sae, self.progress.curve, seconds, self.progress.tokens / seconds, self.stepper.backend)


class _Progress:
    """The figures of a training: those since the curve's last point, and the curve."""

    def __init__(self, d_sae: int, one_pass: int, device: torch.device) -> None:
        self.name, self.one_pass = size_name(d_sae), one_pass
        self.curve = TrainingCurve()
        self.tokens = 0
        self.squared_error = math.nan  # mean of Σ(x − x̂)² over the tokens up to the curve's last point
        self.recent: dict[str, float | Tensor] = {"tokens": 0, "active": 0, "squared": 0.0, "power": 0.0}
        self.last_fired = torch.zeros(d_sae, dtype=torch.int64, device=device)  # value of `tokens` at that time

    def add_step(self, stats: StepStats) -> None:
        """Count one step."""
        self.tokens += stats.n_tokens
        self.last_fired.masked_fill_(stats.counts > 0, self.tokens)
        for key, value in zip(self.recent, (stats.n_tokens, stats.active, stats.squared, stats.power), strict=True):
            self.recent[key] = self.recent[key] + value  # on a card these are tensors, so the host does not wait

    def add_point(self) -> str:
        """Add a point to the curve; returns its figures in a few characters.

        Raises UserError when the SAE has diverged or all its features are dead.
        """
        recent = {key: float(value) for key, value in self.recent.items()}  # waits for a card
        if not math.isfinite(recent["power"]):
            raise UserError("The activations hold NaN or infinite numbers; extract them again, with --precision fp32.")
        l0 = recent["active"] / recent["tokens"]
        fvu = recent["squared"] / recent["power"]
        if not fvu < 1e6:
            raise UserError(f"Training the {self.name} SAE diverged; use a smaller --learning-rate.")
        if l0 == 0.0:
            raise UserError(f"All features of the {self.name} SAE are dead; use a smaller --l1-coefficient.")
        self.squared_error = recent["squared"] / recent["tokens"]
        silent = self.tokens - self.last_fired >= min(self.one_pass, self.tokens)
        self.curve.tokens.append(self.tokens)
        self.curve.l0.append(l0)
        self.curve.fvu.append(fvu)
        self.curve.silent.append(float(silent.float().mean()))
        self.recent = dict.fromkeys(self.recent, 0)
        return f"{self.name} L0 {l0:.0f} FVU {fvu:.3f} dead {self.curve.silent[-1]:.0%}"

    def facts(self) -> dict[str, Any]:
        """The numbers, as JSON; `last_fired` is not among them."""
        recent = {key: float(value) for key, value in self.recent.items()}
        return {"tokens": self.tokens, "recent": recent, "curve": asdict(self.curve)}

    def load(self, last_fired: Tensor, facts: dict[str, Any]) -> None:
        """Load `last_fired` and what `facts` returned."""
        self.last_fired.copy_(last_fired)
        self.tokens, self.recent = facts["tokens"], facts["recent"]
        self.curve = TrainingCurve(**facts["curve"])


def _stepper(job: Job, device: torch.device, sharing: StepSharing) -> Stepper:
    """The step of a job's SAE at its start, with this rank's share of the features."""
    sae, generator = job.template, torch.Generator().manual_seed(job.config.seed)
    if sae.recipe == "seed":
        if sharing.ranks.size > 1:
            raise UserError("The seed recipe trains in one process; leave torchrun out or use --recipe default.")
        return NotebookStep(sae.d_in, sae.d_sae, generator, device)
    own = sharing.features(sae.d_sae)
    rows = unit_rows(sae.d_sae, sae.d_in, generator)[own].to(device)
    spread = torch.rand(sae.d_sae, generator=generator)[own].to(device)
    return stepper(sae.kind, rows, sae.k, sae.prefixes, sharing=sharing, d_sae=sae.d_sae, spread=spread)


def _drawn(stepper: Stepper, part: Part | None) -> dict[str, Tensor]:
    """The directions of a part of a stepper as they were drawn, by their name in its state; none for None."""
    names = {"encoder": "W_enc", "decoder": "W_dec"}
    return {} if part is None else {names[part]: stepper.state_dict()[names[part]].clone()}


class Sparsity:
    """λ during a training: fixed, or steered so that L0 reaches a target."""

    def __init__(self, weight: float, target_l0: float | None) -> None:
        """`weight` is λ at the start; without a target it stays."""
        self.weight: Any = weight  # a number, or a tensor [] on a card
        self.target_l0 = target_l0

    def steer(self, l0: float | Tensor, n_steps: int) -> None:
        """Adapt λ after one of `n_steps` steps: it grows where L0 is above the target, by at most a twentieth."""
        if self.target_l0 is None:
            return
        if isinstance(l0, Tensor):  # on a card, where λ then stays
            error = (l0.clamp_min(1e-3) / self.target_l0).log()
            self.weight = self.weight * (_STEERING / n_steps * error).clamp(-0.05, 0.05).exp()
        else:
            excess = math.log(max(l0, 1e-3) / self.target_l0)
            self.weight *= math.exp(max(-0.05, min(0.05, _STEERING / n_steps * excess)))
