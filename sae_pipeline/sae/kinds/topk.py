"""Kinds that fix how many features are active: per token, on average, and on average in nested dictionaries.

The encoder lists only the entries above a running threshold, of which exactly the k largest are kept. Where the
threshold was too high, the product is run again with lower ones. As f = relu(pre), entries below 0 are never kept.
"""

from typing import Unpack

import torch
from torch import Tensor

from sae_pipeline.kernels import Lists, keep
from sae_pipeline.sae.kinds.engine import Batch, Options, SparseStepper
from sae_pipeline.sae.kinds.stepper import StepStats

_SHORT = 0.03  # share of tokens that may be encoded again: cheaper than a threshold that is low enough for all
_MOST, _SOME = 1 << 26, 1 << 22  # pre-activations of which all above 0 may be listed; on a 16th a floor is found
_FEWEST = 32  # tokens on which a floor is found
_TUNED_AT = 384  # d_in at which the learning rate was chosen
_LOWER = 0.7  # factor on the threshold the second time, at which most of these tokens have k entries


class TopKStep(SparseStepper):
    """f = the k largest of relu(pre) per token, loss = mean over tokens of ‖x − x̂‖² (Gao et al. 2024)."""

    learning_rate = 8e-3  # for d_in up to 384
    decay = 0.95  # 0.3 leaves 2 to 4 % more FVU; kinds with a λ lose by 0.95, as they become sparse late
    bias_range = 2.0  # some features start as specialists: FVU on dev 4 % lower at k = 16 and at 32k, same at k = 128
    momentum = 0.9
    weight_decay = 0.4  # FVU on dev is lower, most at large k; see docs/results/quality.md
    common_state = SparseStepper.common_state | {"floor"}

    def __init__(self, W_dec: Tensor, k: int, **options: Unpack[Options]) -> None:
        """Start from decoder rows W_dec [d_sae, d_in] of length 1; `k` features are active per token.

        The default learning rate falls with √d_in. At d_in 768 and 4,096 features, FVU on dev is then 1, 3 and 3 %
        lower at k = 16, 64 and 128 than with the rate of narrower activations; half the rate is worse at k = 16.
        """
        super().__init__(W_dec, **options)
        self.learning_rate *= min(1.0, (_TUNED_AT / W_dec.shape[1]) ** 0.5)
        self.k = k
        self._floor = W_dec.new_zeros(())  # the running threshold

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step; `sparsity` is ignored."""
        batch = self._read(x)
        lists = self._select(batch)
        squared = self._descend(batch, lists, lr)
        counts = lists.ptr.diff()
        return StepStats(len(x), squared / len(x), squared, float(x.square().sum()), int(counts.sum()), counts)

    def _select(self, batch: Batch) -> Lists:
        """Choose the active entries; lists by feature."""
        known = self._running_floor(batch)
        by_token = self._by_token(batch, known)
        kept: Lists = self._ops.topk_rows(by_token, self.k)
        short = (by_token.ptr.diff() < self.k).nonzero(as_tuple=True)[0]  # tokens with fewer than k entries
        share = len(short) / len(batch.x)
        if known > 0:
            for floor in (_LOWER * known, torch.zeros_like(known)):
                if len(short):
                    again = self._by_token(self._read(batch.x[short]), floor)
                    kept = _replace_rows(kept, short, self._ops.topk_rows(again, self.k))
                    short = short[again.ptr.diff() < self.k]
        self._move_floor(kept, share)
        kept = self._largest_of_all(kept)
        selected: Lists = self._ops.transpose(kept, len(self.features.b_enc))[0]
        return selected

    def _largest_of_all(self, kept: Lists) -> Lists:
        """Keep those of this rank's k largest per token that are among the k largest of all ranks' features."""
        if not self.sharing.by_features:
            return kept
        rows, n = kept.rows, len(kept.ptr) - 1
        own = kept.values.new_zeros(n, self.k)
        own[rows, torch.arange(len(rows), device=rows.device) - kept.ptr[rows]] = kept.values
        every = self.sharing.gather(own.flatten()).view(self.sharing.ranks.size, n, self.k)
        least = every.transpose(0, 1).flatten(1).topk(self.k, sorted=True).values[:, -1]
        return keep(kept, kept.values >= least[rows])

    def _by_token(self, batch: Batch, floor: Tensor) -> Lists:
        """The entries above `floor` [], as lists by token."""
        lists = self._encode(batch, floor.expand(len(self.features.b_enc)).contiguous())
        assert lists is not None
        by_token: Lists = self._ops.transpose(lists, len(batch.x))[0]
        return by_token

    def _move_floor(self, kept: Lists, short: float) -> None:
        """Adapt the running threshold, so that a share of about `_SHORT` of the tokens falls short of k entries."""
        if self._floor == 0:
            self._floor.copy_(self._fitting_floor(kept))
        else:
            self._floor.mul_(1.02 if short < _SHORT else 0.97)

    def _fitting_floor(self, kept: Lists) -> Tensor:
        """The threshold [] below which about `_SHORT` of the tokens in `kept` have their k-th largest entry.

        It is 0 where no token has k entries.
        """
        full = kept.ptr.diff() == self.k
        if not full.any():
            return torch.zeros_like(self._floor)
        least = torch.segment_reduce(kept.values, "min", offsets=kept.ptr, initial=torch.inf)[full]
        return least.quantile(_SHORT)

    def _running_floor(self, batch: Batch) -> Tensor:
        """The running threshold []. In the first step it is 0, which lists every positive entry.

        Where these are too many, the first step takes a threshold that fits a few of the tokens. The same entries are
        kept.
        """
        d_sae = len(self.features.b_enc)
        if len(batch.x) * d_sae <= _MOST or self._floor > 0:
            return self._floor
        some = self._read(batch.x[: max(_FEWEST, _SOME // d_sae)])
        return self._fitting_floor(self._ops.topk_rows(self._by_token(some, self._floor), self.k))

    def _descend(self, batch: Batch, lists: Lists, lr: float) -> float:
        """Move the parameters along the gradients at the active entries; returns Σ‖x − x̂‖² from before the step."""
        r, mean_r, squared = self._residual(lists, batch)
        self._update(lists, batch, r, self.adam(lr))
        self._step_b_dec(2 * mean_r, lr)
        return float(squared)

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), "floor": self._floor}


def _replace_rows(lists: Lists, rows: Tensor, others: Lists) -> Lists:
    """`lists` with its rows `rows` [n] replaced by the n rows of `others`."""
    counts = lists.ptr.diff()
    stay = torch.ones_like(counts, dtype=torch.bool)
    stay[rows] = False
    kept = keep(lists, stay.repeat_interleave(counts))
    row = torch.cat([kept.rows, rows[others.rows]])
    order = row.argsort(stable=True)
    ptr = torch.zeros_like(lists.ptr)
    ptr[1:] = torch.bincount(row, minlength=len(counts)).cumsum(0)
    return Lists(ptr, torch.cat([kept.cols, others.cols])[order], torch.cat([kept.values, others.values])[order])


class BatchTopKStep(TopKStep):
    """f = the k·n_tokens largest of relu(pre) in a batch (Bussmann et al. 2024); at the end one threshold for all.

    The threshold is the running mean of the smallest f that was kept.
    """

    common_state = TopKStep.common_state | {"least"}

    def __init__(self, W_dec: Tensor, k: int, **options: Unpack[Options]) -> None:
        """Start from decoder rows W_dec [d_sae, d_in] of length 1; `k` features are active per token on average."""
        super().__init__(W_dec, k, **options)
        self._least = W_dec.new_zeros(())

    def _select(self, batch: Batch) -> Lists:
        wanted = self.k * len(batch.x)
        floor = self._running_floor(batch)
        if self.steps == 0:
            floor = self.sharing.gather(floor[None]).min()  # the ranks lower it together
        lists, every = self._above(batch, floor)
        while len(every) < wanted and floor > 0:
            floor = floor * 0.5 if floor > 1e-3 else torch.zeros_like(floor)
            lists, every = self._above(batch, floor)
        if len(every) > wanted:
            least = every.topk(wanted, sorted=False).values.min()
            lists = keep(lists, lists.values >= least)
        else:
            least = every.min() if len(every) else self._least
        least = self.sharing.mean(least)
        self._least.copy_(least if self.steps == 0 else self._least.lerp(least, 0.02))
        self._floor.copy_(0.95 * least)
        return lists

    def _above(self, batch: Batch, floor: Tensor) -> tuple[Lists, Tensor]:
        """This rank's entries above `floor`, and the values of all entries among which k per token are chosen.

        Ranks that share the features choose among all ranks' entries; ranks that share the tokens choose for
        themselves.
        """
        lists = self._encode(batch, floor.expand(len(self.features.b_enc)).contiguous())
        assert lists is not None
        return lists, self.sharing.gather(lists.values)

    def _threshold(self) -> Tensor:
        return self._least.expand(len(self.features.b_enc))

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), "least": self._least}


class MatryoshkaStep(BatchTopKStep):
    """BatchTopK in which the first features must also reconstruct without the others (Bussmann et al. 2025).

    loss = mean over tokens and over the prefixes m of ‖x − b_dec − Σ_{i<m} fᵢ·W_dec[i]‖², so feature i follows the
    mean residual of the prefixes that hold it.
    """

    def __init__(self, W_dec: Tensor, k: int, prefixes: tuple[int, ...], **options: Unpack[Options]) -> None:
        """Start from decoder rows W_dec [d_sae, d_in] of length 1; `k` features are active per token on average.

        `prefixes` are the sizes of the nested dictionaries, multiples of 32 (but for the last) that rise to d_sae.
        """
        super().__init__(W_dec, k, **options)
        self.prefixes = prefixes

    def _descend(self, batch: Batch, lists: Lists, lr: float) -> float:
        spans = [slice(a, b) for a, b in zip((0, *self.prefixes), self.prefixes, strict=False)]
        residuals, target, b_dec = [], batch.x, self.b_dec
        squared = 0.0
        for span in spans:
            r, _, squared = self._ops.residual(lists.part(span), self.features.W_dec[span], b_dec, target)
            residuals.append(r)
            target, b_dec = -r, torch.zeros_like(b_dec)
        following = torch.zeros_like(batch.x)
        for span, r in zip(reversed(spans), reversed(residuals), strict=True):
            following += r / len(spans)
            low = following.to(batch.low.dtype)
            self._update(lists.part(span), batch, low, self.adam(lr), span=span)
        self._step_b_dec(2 * following.mean(0), lr)
        return float(squared)
