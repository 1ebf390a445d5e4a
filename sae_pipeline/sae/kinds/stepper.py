"""What the training loop knows of a kind of SAE: its step, the weights it ends with, and a state to resume from."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor


class StepStats(NamedTuple):
    """The figures of one step, taken before the parameters moved.

    On a card the numbers are tensors [], so that the host need not wait for them.
    """

    n_tokens: int
    loss: float | Tensor  # mean over tokens; each kind documents its own
    squared: float | Tensor  # Σ‖x − x̂‖² over the batch
    power: float | Tensor  # Σ‖x‖² over the batch
    active: int | Tensor  # active entries
    counts: Tensor  # [d_sae] int64, active entries of each feature

    @property
    def l0(self) -> float | Tensor:
        """Active features per token."""
        return self.active / self.n_tokens


class Weights(NamedTuple):
    """A trained SAE as autoencoder.py applies it: f = pre where pre > threshold."""

    W_enc: Tensor  # [d_in, d_sae]
    b_enc: Tensor  # [d_sae]
    threshold: Tensor  # [d_sae], ≥ 0
    W_dec: Tensor  # [d_sae, d_in]
    b_dec: Tensor  # [d_in]


class Stepper(ABC):
    """One SAE in training. A subclass defines how its kind moves the parameters."""

    learning_rate: float
    """The default, chosen on dev."""

    decay: float = 0.3
    """Share of all steps over which the learning rate falls to 0."""

    common_state: ClassVar[frozenset[str]] = frozenset()
    """Names of the tensors in the state that belong to no single feature, so that every rank holds them whole."""

    backend: str = "reference"
    """The kernels that a step runs on; "reference" is plain torch."""

    @abstractmethod
    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step on x_norm [n_tokens, d_in].

        `sparsity` is λ, which weighs the kind's penalty; kinds that fix k ignore it.
        """

    @abstractmethod
    def weights(self) -> Weights:
        """The present SAE. Tensors may be views of the parameters; decoder rows have length 1."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, not copied. Loading it resumes bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy in a state that `state_dict` returned."""
