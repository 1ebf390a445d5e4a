"""The steps of all kinds on a card, as a fixed sequence of kernels for which the host never waits.

A card's step moves the parameters of a plain stepper, which defines the algorithm and holds the state. Once its
kernels have run, the sequence is captured as one CUDA graph for its batch size, so that the host launches it at once.
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from sae_pipeline.kernels import path_counts
from sae_pipeline.kernels.gpu_step import Scalar, Settings, Weights, Workspace
from sae_pipeline.sae.kinds.engine import BETAS_B_DEC, SparseStepper
from sae_pipeline.sae.kinds.gated import GatedStep
from sae_pipeline.sae.kinds.jumprelu import JumpReluStep
from sae_pipeline.sae.kinds.relu import ReluStep
from sae_pipeline.sae.kinds.stepper import Stepper, StepStats
from sae_pipeline.sae.kinds.stepper import Weights as TrainedWeights
from sae_pipeline.sae.kinds.topk import BatchTopKStep, MatryoshkaStep, TopKStep

_KINDS = (ReluStep, TopKStep, BatchTopKStep, MatryoshkaStep, JumpReluStep, GatedStep)
_WARM_UP = 2  # steps before the capture, in which Triton compiles the kernels
_SHORT, _RISE, _FALL = 0.03, 1.02, 0.97  # how TopK's running threshold moves; see topk.py
_FOLLOW = 0.02  # how BatchTopK's running threshold moves; see topk.py


@dataclass
class _Batch:
    """What belongs to one batch size."""

    space: Workspace
    x: Tensor  # [n_tokens, d_in]
    steps: int = 0
    graph: torch.cuda.CUDAGraph | None = None  # the captured step


class CardStep(Stepper):
    """The step of a plain stepper of one of the six kinds, which shares its step with no other rank."""

    backend = "triton"

    def __init__(self, plain: SparseStepper) -> None:
        """Take over the parameters of `plain`; its state's tensors are moved in place."""
        self.plain = plain
        self.learning_rate, self.decay = plain.learning_rate, plain.decay
        self._state = state = plain.state_dict()
        self._settings = plain.b_dec.new_zeros(len(Settings._fields))
        self._adam = plain.adam(0.0)  # lr and λ are read from the settings on the card

        def learnt(name: str) -> Scalar | None:
            return Scalar(state[name], state[f"v_{name}"], state[f"n_steps_{name}"]) if name in state else None

        self._weights = Weights(
            plain.features,
            plain.features.W_enc.to(plain.low_dtype),
            plain.features.W_dec.to(plain.low_dtype),
            state["b_dec"],
            state["m_b_dec"],
            state["v_b_dec"],
            learnt("log_threshold") or learnt("stretch"),
            learnt("shift"),
        )
        self._batches: dict[int, _Batch] = {}
        self._has_floor, self._capture = False, plain.b_dec.is_cuda

    @classmethod
    def suits(cls, plain: Stepper) -> bool:
        """Whether there is a sequence of kernels for this stepper."""
        return type(plain) in _KINDS and isinstance(plain, SparseStepper) and plain.on_card

    def step(self, x: Tensor, lr: float, sparsity: float | Tensor) -> StepStats:
        """See `Stepper`. λ may be a tensor on the card, as the returned figures are."""
        n = len(x)
        if n not in self._batches:
            self._batches[n] = _Batch(self._workspace(n), x.new_empty(x.shape))
        batch = self._batches[n]
        self._tell(batch.space, lr, sparsity)
        batch.x.copy_(x)
        without_floor = self._without_floor()
        if without_floor or not self._capture or batch.steps < _WARM_UP:
            self._launch(batch)
        else:
            self._replay(batch)
        if without_floor:
            self._find_floor(batch.space)
        self.plain.steps += 1
        batch.steps += 1
        path_counts["step.sparse.triton"] += 1
        loss, squared, power, active = batch.space.figures.double()
        return StepStats(n, loss, squared, power, active, batch.space.active.long())

    def _tell(self, space: Workspace, lr: float, sparsity: float | Tensor) -> None:
        """Send the settings of the next step to the card."""
        t = self.plain.steps + 1
        beta1, beta2 = BETAS_B_DEC
        if isinstance(self.plain, TopKStep):  # k sets the sparsity
            sparsity = 0.0
        on_host = 0.0 if isinstance(sparsity, Tensor) else sparsity
        told = Settings(lr, on_host, lr / (1 - beta1**t), 1 - beta2**t, 1.0 if t == 1 else _FOLLOW)
        space.tell(self._settings, told)
        if isinstance(sparsity, Tensor):
            self._settings[1:2].copy_(sparsity)

    def _launch(self, batch: _Batch) -> None:
        """One step, kernel by kernel."""
        space, weights, settings = batch.space, self._weights, self._settings
        space.low.copy_(batch.x)
        self._select(space)
        space.list_by_token()
        space.list_by_feature()
        space.decode(batch.x, weights, settings)
        space.update(weights, self._adam, settings)
        space.finish(weights, settings)

    def _select(self, space: Workspace) -> None:
        """Set the bits of the active entries, for JumpReLU also of those within the bandwidth below θ.

        The kinds that fix k take the entries above a running threshold; where these are too few, it is left out.
        """
        plain, W_enc, b_enc = self.plain, self._weights.W_enc, self._weights.features.b_enc
        if isinstance(plain, JumpReluStep):
            space.encode(W_enc, b_enc, self._state["log_threshold"].exp() - plain.bandwidth / 2)
        elif isinstance(plain, TopKStep):
            floor, whole = self._state["floor"].view(1), isinstance(plain, BatchTopKStep)
            space.encode(W_enc, b_enc, floor)
            space.list_by_token()
            if whole:
                space.find_all_if_short(plain.k * space.n, floor)
            else:
                space.find_short(plain.k, floor, _SHORT, _RISE, _FALL)
            space.encode(W_enc, b_enc, space.zero, again=True)
            space.list_by_token(again=True)
            if whole:
                space.keep_largest(plain.k * space.n, self._state["least"].view(1), floor, self._settings)
            else:
                space.keep_rows(plain.k)
        else:
            space.encode(W_enc, b_enc, space.zero)

    def _without_floor(self) -> bool:
        """Whether TopK's running threshold is still to be found; waits for the card while it is."""
        if type(self.plain) is not TopKStep or self._has_floor:
            return False
        self._has_floor = bool(self._state["floor"] > 0)
        return not self._has_floor

    def _find_floor(self, space: Workspace) -> None:
        """Start TopK's running threshold where about the right share of tokens falls short of k entries."""
        full = space.kth[space.kth > 0]
        if len(full):
            self._state["floor"].copy_(full.quantile(_SHORT))

    def _replay(self, batch: _Batch) -> None:
        """One step as a CUDA graph; kernel by kernel for good where it cannot be captured."""
        if batch.graph is None:
            graph, device = torch.cuda.CUDAGraph(), batch.x.device
            try:
                with (
                    torch.cuda.device(device),  # other threads may use the card meanwhile
                    torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"),
                ):
                    self._launch(batch)
            except RuntimeError as error:
                self._capture = False
                print(f"SAE step: no CUDA graph, because {str(error).splitlines()[0]}", file=sys.stderr)
                self._launch(batch)
                return
            batch.graph = graph
        batch.graph.replay()

    def _workspace(self, n: int) -> Workspace:
        """The buffers of steps on n tokens. The last batch of a pass, which is smaller, uses those of the others."""
        plain, low = self.plain, self._weights.W_enc
        larger = next((batch.space for batch in self._batches.values() if batch.space.n >= n), None)
        if isinstance(plain, JumpReluStep):
            return Workspace(n, low, "jump", bandwidth=plain.bandwidth, larger=larger)
        if isinstance(plain, GatedStep):
            return Workspace(n, low, "gated", larger=larger)
        ends = plain.prefixes if isinstance(plain, MatryoshkaStep) else ()
        return Workspace(n, low, ends=ends, larger=larger)

    # --- what the plain stepper does -------------------------------------------------------------------------

    def weights(self) -> TrainedWeights:
        """See `Stepper`."""
        return self.plain.weights()

    def state_dict(self) -> dict[str, Tensor]:
        """See `Stepper`."""
        return self.plain.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Stepper`."""
        self.plain.load_state_dict(state)
        self._weights.W_enc.copy_(self.plain.features.W_enc)
        self._weights.W_dec.copy_(self.plain.features.W_dec)
        self._has_floor = False
