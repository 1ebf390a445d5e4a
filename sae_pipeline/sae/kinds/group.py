"""How one SAE's training step is shared by several processes (ranks). Alone, nothing of it is felt.

    tokens      a rank has all features and its share of the batch; all rows' gradients are averaged:
                2·d_sae·d_in numbers a step go around
    features    a rank has its share of the features and the whole batch; the parts of x̂ are added up:
                n_tokens·d_in numbers a step

The second is the cheaper exchange wherever a batch has fewer tokens than there are features, and the only one for
dictionaries too wide for one card: the whole one is put together in main memory, for checkpoints and at the end.
Sums go through torch.distributed, whose process group must be there.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sae_pipeline.errors import ResourceError
from sae_pipeline.sae.kinds.stepper import StepStats, Weights

T = TypeVar("T")
Split = Literal["none", "tokens", "features"]
# Of a stepper's state: what does not belong to single features.
_ON_EVERY_RANK = ("b_dec", "m_b_dec", "v_b_dec", "steps", "floor", "least")


@dataclass(frozen=True)
class Group:
    """This rank among `size`, and what the ranks share."""

    split: Split = "none"
    rank: int = 0
    size: int = 1

    def share(self, n: int) -> slice:
        """This rank's part of n things: contiguous, in the order of ranks, sizes differing by at most one."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def features(self, d_sae: int) -> slice:
        """The features this rank holds."""
        return self.share(d_sae) if self.split == "features" else slice(0, d_sae)

    def tokens(self, x: Tensor) -> Tensor:
        """The tokens of a batch x [n_tokens, d_in] that this rank sees."""
        return x[self.share(len(x))] if self.split == "tokens" else x

    def sum(self, tensor: Tensor) -> Tensor:
        """Σ over ranks, the same bits on each; `tensor` itself alone."""
        if self.split == "none":
            return tensor
        total = tensor.contiguous()
        try:
            dist.all_reduce(total)
        except RuntimeError as error:
            raise ResourceError(
                "Another process of this training has ended, so it cannot go on; its checkpoint is kept: "
                "run the same command again."
            ) from error
        return total

    def any(self, on: bool) -> bool:
        """Whether it is so on some rank."""
        return on if self.split == "none" else bool(self.sum(torch.tensor(float(on))))

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.split != "none":
            dist.barrier()

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank."""
        box = [value]
        if self.split != "none":
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def mean(self, per_rank: Tensor) -> Tensor:
        """Over the batch's tokens, from a mean over this rank's; ranks weigh alike, their shares differ by a token."""
        return self.sum(per_rank / self.size) if self.split == "tokens" else per_rank

    def whole(self, part: Tensor, d_sae: int, dim: int = 0) -> Tensor:
        """All features' entries along `dim` from this rank's."""
        if self.split != "features":
            return part
        shape = list(part.shape)
        shape[dim] = d_sae
        full = part.new_zeros(shape)
        if full.numel() == 0:  # a kind without first moments
            return full
        span = self.features(d_sae)
        full.narrow(dim, span.start, span.stop - span.start).copy_(part)
        return self.sum(full)

    def part(self, total: float) -> float:
        """This rank's part of a sum over features that all ranks have: the parts add up to it."""
        return total / self.size if self.split == "features" else total

    def gather(self, values: Tensor) -> Tensor:
        """Every rank's values [n], one rank after the other, where they hold different features."""
        if self.split != "features":
            return values
        sizes = torch.zeros(self.size, dtype=torch.int64, device=values.device)
        sizes[self.rank] = len(values)
        ends = self.sum(sizes).cumsum(0).tolist()
        every = values.new_zeros(ends[-1])
        every[ends[self.rank] - len(values) : ends[self.rank]] = values
        return self.sum(every)

    def stats(self, own: StepStats, d_sae: int) -> StepStats:
        """One step's figures over all tokens and features."""
        if self.split == "none":
            return own
        over_tokens = torch.tensor([own.n_tokens, own.squared, own.power], dtype=torch.float64)
        penalty = torch.tensor(own.loss * own.n_tokens - own.squared, dtype=torch.float64)
        if self.split == "tokens":
            over_tokens = self.sum(over_tokens)
            counts = self.sum(own.counts)
        else:
            counts = self.whole(own.counts, d_sae)
        n_tokens, squared, power = over_tokens.tolist()
        loss = (squared + float(self.sum(penalty))) / n_tokens
        return StepStats(int(n_tokens), loss, squared, power, int(counts.sum()), counts)

    def weights(self, own: Weights, d_sae: int) -> Weights:
        """The whole SAE, on every rank."""
        if self.split != "features":
            return own
        W_enc, b_enc, threshold, W_dec, b_dec = (tensor.cpu() for tensor in own)
        return Weights(
            self.whole(W_enc, d_sae, dim=1),
            self.whole(b_enc, d_sae),
            self.whole(threshold, d_sae),
            self.whole(W_dec, d_sae),
            b_dec,
        )

    def whole_state(self, own: dict[str, Tensor], d_sae: int) -> dict[str, Tensor]:
        """A stepper's state as one process would have it, so that any number of ranks can go on from it."""
        if self.split != "features":
            return own
        return {k: t if k in _ON_EVERY_RANK else self.whole(t.cpu(), d_sae) for k, t in own.items()}

    def own_state(self, whole: dict[str, Tensor], d_sae: int) -> dict[str, Tensor]:
        """This rank's part of `whole_state`."""
        if self.split != "features":
            return whole
        return {k: t if k in _ON_EVERY_RANK else t[self.features(d_sae)] for k, t in whole.items()}


ALONE = Group()
