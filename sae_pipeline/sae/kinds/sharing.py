"""How several processes (ranks) share each training step of one SAE.

    tokens      A rank holds all features and sees its share of the batch. The gradients of all rows are averaged:
                2·d_sae·d_in numbers are exchanged per step.
    features    A rank holds its share of the features and sees the whole batch. The parts of x̂ are added up:
                n_tokens·d_in numbers are exchanged per step.

The second exchanges less wherever a batch has fewer tokens than there are features. It is also the only way for
dictionaries that are too wide for one card: the whole one is put together in main memory, for checkpoints and at the
end. exchange.py holds the two parts of a step at which numbers are exchanged.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sae_pipeline.errors import ResourceError
from sae_pipeline.machine.memory import out_of_memory
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.sae.kinds.stepper import Stepper, StepStats, Weights


@dataclass(frozen=True)
class StepSharing:
    """The ranks that share the steps, and what each of them has a share of. A single process shares nothing."""

    ranks: Ranks = ONE_PROCESS
    share_by: Literal["features", "tokens"] = "features"

    @property
    def by_features(self) -> bool:
        """Whether there are several ranks and each holds a share of the features."""
        return self.ranks.size > 1 and self.share_by == "features"

    @property
    def by_tokens(self) -> bool:
        """Whether there are several ranks and each sees a share of the tokens."""
        return self.ranks.size > 1 and self.share_by == "tokens"

    def features(self, d_sae: int) -> slice:
        """The features that this rank holds."""
        return self._own(d_sae) if self.by_features else slice(0, d_sae)

    def tokens(self, x: Tensor) -> Tensor:
        """The tokens of a batch x [n_tokens, d_in] that this rank sees."""
        return x[self._own(len(x))] if self.by_tokens else x

    def _own(self, n: int) -> slice:
        share = self.ranks.share(n)
        return slice(share.start, share.stop)

    def sum(self, tensor: Tensor) -> Tensor:
        """Σ over ranks, with the same bits on each; a contiguous tensor is overwritten.

        Raises ResourceError when another rank has ended.
        """
        try:
            return self.ranks.sum(tensor)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ResourceError(
                "Another process of this training has ended, so it cannot go on; its checkpoint is kept: "
                "run the same command again."
            ) from error

    def any(self, on: bool) -> bool:
        """Whether it is true on at least one rank."""
        return on if self.ranks.size == 1 else bool(self.sum(torch.tensor(float(on))))

    def mean(self, per_rank: Tensor) -> Tensor:
        """The mean over the batch's tokens, from the mean over this rank's tokens.

        Ranks weigh alike, although their shares may differ by one token.
        """
        return self.sum(per_rank / self.ranks.size) if self.by_tokens else per_rank

    def own_part(self, total: float) -> float:
        """This rank's part of a sum over features that every rank knows: the parts add up to it."""
        return total / self.ranks.size if self.by_features else total

    def gather(self, values: Tensor) -> Tensor:
        """The values [n] of every rank, one rank after the other, where ranks hold different features."""
        if not self.by_features:
            return values
        sizes = torch.zeros(self.ranks.size, dtype=torch.int64, device=values.device)
        sizes[self.ranks.rank] = len(values)
        ends = self.sum(sizes).cumsum(0).tolist()
        end = ends[self.ranks.rank]
        every = values.new_zeros(ends[-1])
        every[end - len(values) : end] = values
        return self.sum(every)

    # --- putting the whole together --------------------------------------------------------------------------

    def whole(self, part: Tensor, d_sae: int, dim: int = 0) -> Tensor:
        """The entries of all features along `dim`, from those of this rank's features."""
        if not self.by_features:
            return part
        shape = list(part.shape)
        shape[dim] = d_sae
        full = part.new_zeros(shape)
        if full.numel() == 0:  # a kind without first moments
            return full
        span = self.features(d_sae)
        full.narrow(dim, span.start, span.stop - span.start).copy_(part)
        return self.sum(full)

    def whole_stats(self, own: StepStats, d_sae: int) -> StepStats:
        """The figures of one step over all tokens and all features."""
        if self.ranks.size == 1:
            return own
        over_tokens = torch.tensor([own.n_tokens, own.squared, own.power], dtype=torch.float64)
        penalty = torch.tensor(own.loss * own.n_tokens - own.squared, dtype=torch.float64)
        if self.by_tokens:
            over_tokens = self.sum(over_tokens)
            counts = self.sum(own.counts)
        else:
            counts = self.whole(own.counts, d_sae)
        n_tokens, squared, power = over_tokens.tolist()
        loss = (squared + float(self.sum(penalty))) / n_tokens
        return StepStats(int(n_tokens), loss, squared, power, int(counts.sum()), counts)

    def whole_weights(self, stepper: Stepper, d_sae: int) -> Weights:
        """The weights of the whole SAE, on every rank."""
        own = stepper.weights()
        if not self.by_features:
            return own
        W_enc, b_enc, threshold, W_dec, b_dec = (tensor.cpu() for tensor in own)
        return Weights(
            self.whole(W_enc, d_sae, dim=1),
            self.whole(b_enc, d_sae),
            self.whole(threshold, d_sae),
            self.whole(W_dec, d_sae),
            b_dec,
        )

    def whole_state(self, stepper: Stepper, d_sae: int) -> dict[str, Tensor]:
        """A stepper's state as a single process would have it, so that any number of ranks can resume from it."""
        own = stepper.state_dict()
        if not self.by_features:
            return own
        common = stepper.common_state
        return {name: t if name in common else self.whole(t.cpu(), d_sae) for name, t in own.items()}

    def load_state(self, stepper: Stepper, whole: dict[str, Tensor], d_sae: int) -> None:
        """Load this rank's part of a state that `whole_state` made."""
        if self.by_features:
            common, span = stepper.common_state, self.features(d_sae)
            whole = {name: t if name in common else t[span] for name, t in whole.items()}
        stepper.load_state_dict(whole)


UNSHARED = StepSharing()
