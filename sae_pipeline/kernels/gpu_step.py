"""The training step on a card: the sequence of Triton kernels from x to moved weights. It never waits for the host.

The kernels are in gpu_selection.py (which entries are active) and gpu_gradient.py (the gradient step):

    encode       pre = x · W_encᵀ + b_enc with its threshold, as one bit per entry; values only where the bit is set
    short        topk kinds: which tokens have too few entries, so that they are encoded again with threshold 0
    keep_rows    topk: the k largest entries of each token
    digits, cut  batchtopk: the smallest of the k·n largest entries, by a radix search
    keep_above   batchtopk: the entries that are not smaller
    turn         the bits by feature, from the bits by token
    columns      the columns of the set bits of each row
    decode       r = x̂ − x, and the step's sums
    parts        gradients of features with long lists, in segments of `SEGMENT` entries
    update       gradients of all other features, and the optimiser's step of all
    tell         copies lr, λ and the other numbers of the host for this step
    finish       the step of b_dec, and the step's figures

Lists stand at fixed places: row i of a list of columns begins at i · n_columns, and the value of an entry stays where
the product puts it, at [feature, token]. Almost all of these addresses are never touched. So there is nothing to
sort, to scan or to count beforehand, and no list can be too long. Every sum of fractions is computed by one program in
one order; only counts of digits are added atomically.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sae_pipeline.kernels import gpu_gradient as gradient
from sae_pipeline.kernels import gpu_selection as selection
from sae_pipeline.kernels.gpu_gradient import FIGURES, SEGMENT
from sae_pipeline.kernels.gpu_selection import DIGITS
from sae_pipeline.kernels.reference import AdamSettings, Features, Lists

_COUNTERS = 1024  # programs that count digits, at most
_LEVELS = 4  # digits of a number
_CORRECTED = 1 << 15  # steps after which 1 − β₂ᵗ is 1


class Settings(NamedTuple):
    """What the host tells a step; it lies on the card as one tensor of fp32 numbers in this order."""

    lr: float
    penalty: float  # λ, the weight of the kind's penalty
    lr_b_dec: float  # lr / (1 − β₁ᵗ), for b_dec
    correct_b_dec: float  # 1 − β₂ᵗ, for b_dec
    follow: float  # how far the running least value moves to that of this batch


class Scalar(NamedTuple):
    """One learnt number per feature with its optimiser's state; see sae/kinds/engine.py."""

    values: Tensor  # [d_sae]
    v: Tensor  # [d_sae] second moments
    n_steps: Tensor  # [d_sae] float


class Weights(NamedTuple):
    """What a step reads and moves."""

    features: Features
    W_enc: Tensor  # [d_sae, d_in] in the dtype of the products; features.W_enc itself where that is fp32
    W_dec: Tensor  # [d_sae, d_in] likewise
    b_dec: Tensor  # [d_in]
    m_b_dec: Tensor  # [d_in]
    v_b_dec: Tensor  # [d_in]
    first: Scalar | None = None  # jumprelu: log θ; gated: stretch
    second: Scalar | None = None  # gated: shift


class Workspace:
    """The buffers of steps on n tokens, and the kernels that fill them. No method waits for the card."""

    def __init__(
        self,
        n: int,
        W: Tensor,
        kind: str = "plain",
        ends: tuple[int, ...] = (),
        bandwidth: float = 0.0,
        larger: "Workspace | None" = None,
    ) -> None:
        """W [d_sae, d_in] has the dtype of the products and lies on the card.

        `kind` says what the entries mean: plain, jump (jumprelu) or gated. `ends` are the sizes of nested
        dictionaries; `bandwidth` is ε of jumprelu.

        Values and lists take 12·n·d_sae bytes. They are those of `larger`, for the same W and at least n tokens, where
        it is given; then no step of one may begin before that of the other has ended.
        """
        (d_sae, d), device = W.shape, W.device
        self.n, self.d, self.d_sae, self.kind, self.bandwidth = n, d, d_sae, kind, bandwidth
        self.levels = max(1, len(ends))
        self.words, self.words_by_feature = triton.cdiv(d_sae, 32), triton.cdiv(n, 32)

        def ints(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.int32, device=device)

        def floats(*shape: int) -> Tensor:
            return torch.empty(shape, device=device)

        self.low = torch.empty(n, d, dtype=W.dtype, device=device)
        wide = larger or self
        if larger is None:
            self.values, self.cols, self.cols_by_feature = floats(d_sae, n), ints(n, d_sae), ints(d_sae, n)
        self.values, self.cols, self.cols_by_feature = (
            buffer.view(-1)[: n * d_sae].view(shape)
            for buffer, shape in (
                (wide.values, (d_sae, n)), (wide.cols, (n, d_sae)), (wide.cols_by_feature, (d_sae, n)),
            )
        )  # fmt: skip
        self.bits, self.bits_by_feature = ints(n, self.words), ints(d_sae, self.words_by_feature)
        self.counts, self.counts_by_feature, self.segments = ints(n), ints(d_sae), ints(d_sae)
        self.short, self.n_short = ints(n), torch.zeros(1, dtype=torch.int32, device=device)
        self.zero = torch.zeros(1, device=device)
        self.kth = floats(n)
        self.digits = ints(_LEVELS, DIGITS.value)
        self.active = ints(d_sae)  # active entries of each feature
        self.each = triton.cdiv(n, 512)  # tokens that one program decodes
        programs = triton.cdiv(n, self.each)
        self.r = torch.empty(self.levels, n, d, dtype=W.dtype, device=device)
        self.r_gate = torch.empty_like(self.r[0]) if kind == "gated" else self.r[0]
        self.sums, self.totals, self.figures = floats(programs, d), floats(programs, FIGURES.value), floats(4)
        level = torch.zeros(d_sae, dtype=torch.int32)
        for end in ends[:-1]:
            level[end:] += 1
        self.level = level.to(device)
        self._corrections: dict[float, Tensor] = {}
        room = max(1, min(4096, n * d_sae // (4 * SEGMENT.value)))
        self.slots, self.owner = torch.arange(room, device=device), torch.empty(room, dtype=torch.int64, device=device)
        self.slot_ends = torch.empty(d_sae, dtype=torch.int64, device=device)
        self.part_rows, self.part_sums = floats(room, 2, d), floats(room, 4)

    # --- which entries are active ----------------------------------------------------------------------------

    def encode(self, W: Tensor, b_enc: Tensor, threshold: Tensor, again: bool = False) -> None:
        """Set the bits of the entries of low · Wᵀ + b_enc above `threshold` [d_sae] or [1], and write their values.

        With `again` only for the tokens that `find_short` found.
        """
        low = self.low
        if W.device.type == "cpu":  # Triton's interpreter multiplies bf16 wrongly; in fp32 these products are exact
            low, W = low.float(), W.float()
        tokens = min(128, max(16, triton.next_power_of_2(self.n)))
        grid = (triton.cdiv(self.n, tokens) * triton.cdiv(self.d_sae, 128),)
        launch(
            selection.encode, grid, low, W, b_enc, threshold, self.values, self.bits, self.short, self.n_short,
            self.n, self.d, self.d_sae, self.words, again, len(threshold) == 1, tokens, 128,
            64 if W.dtype is torch.bfloat16 else 16, num_warps=8, num_stages=3,
        )  # fmt: skip

    def list_by_token(self, again: bool = False) -> None:
        """List the features of each token; with `again` only of the tokens that `find_short` found."""
        self._list(self.bits, self.counts, self.counts, self.cols, self.d_sae, again)

    def list_by_feature(self) -> None:
        """List the tokens of each feature."""
        grid = triton.cdiv(self.n, 256), triton.cdiv(self.words, 2)
        launch(
            selection.turn, grid, self.bits, self.bits_by_feature, self.n, self.d_sae, self.words,
            self.words_by_feature,
            num_warps=8,
        )  # fmt: skip
        self._list(self.bits_by_feature, self.counts_by_feature, self.segments, self.cols_by_feature, self.n, False)

    def _list(self, bits: Tensor, counts: Tensor, segments: Tensor, cols: Tensor, n_cols: int, again: bool) -> None:
        rows, words = bits.shape
        width = min(256, triton.next_power_of_2(words))
        launch(
            selection.columns, (rows,), bits, counts, segments, cols, self.short, self.n_short, words, n_cols, again,
            segments is not counts, width, num_warps=max(1, width // 64),
        )  # fmt: skip

    def find_short(self, k: int, floor: Tensor, share: float, rise: float, fall: float) -> None:
        """Find the tokens with fewer than k entries, none where `floor` [1] is 0.

        The floor then moves by the factor `rise` where they are fewer than `share` of all tokens, else by `fall`.
        """
        launch(selection.short, (1,), self.counts, floor, self.short, self.n_short, k, self.n, share, rise, fall, False)

    def find_all_if_short(self, wanted: int, floor: Tensor) -> None:
        """Find all tokens if they have fewer than `wanted` entries together and `floor` [1] is above 0, else none."""
        launch(selection.short, (1,), self.counts, floor, self.short, self.n_short, wanted, self.n, 0.0, 1.0, 1.0, True)

    def keep_rows(self, k: int) -> None:
        """Keep the bits of the k largest entries of each token, of equal ones the first; `kth` is the smallest."""
        width = min(256, triton.next_power_of_2(self.words))
        launch(
            selection.keep_rows, (self.n,), self.bits, self.counts, self.cols, self.values, self.kth, k, self.n,
            self.d_sae,
            self.words, width, num_warps=max(1, width // 64),
        )  # fmt: skip

    def keep_largest(self, wanted: int, least: Tensor, floor: Tensor, settings: Tensor) -> None:
        """Keep the bits of the `wanted` largest entries, and of those that equal the smallest of them.

        The running `least` and `floor`, both [1], follow this smallest.
        """
        self.digits.zero_()
        for level in range(_LEVELS):
            launch(
                selection.digits, (min(self.n, _COUNTERS),), self.cols, self.counts, self.values, self.digits, wanted,
                self.n, self.d_sae, level,
            )  # fmt: skip
        launch(selection.cut, (1,), self.digits, self.kth, least, floor, settings, wanted, _LEVELS)
        width = min(256, triton.next_power_of_2(self.words))
        launch(
            selection.keep_above, (self.n,), self.bits, self.values, self.kth, self.n, self.words, width,
            num_warps=max(1, width // 64),
        )  # fmt: skip

    # --- the gradient step -----------------------------------------------------------------------------------

    def decode(self, x: Tensor, weights: Weights, settings: Tensor) -> None:
        """Compute r = x̂ − x for x [n, d_in] and the step's sums, from the lists by token."""
        first, second = self._scalars(weights)
        width = triton.next_power_of_2(self.d)
        launch(
            gradient.decode, (len(self.sums), self.levels), self.cols, self.counts, self.values, weights.W_dec,
            weights.b_dec,
            x, first.values, second.values, self.level, self.r, self.r_gate, self.sums, self.totals, settings, self.n,
            self.d, self.d_sae, self.each, self.levels, self.kind, width, max(1, min(16, 4096 // width)), num_warps=4,
        )  # fmt: skip

    def update(self, weights: Weights, adam: AdamSettings, settings: Tensor) -> None:
        """Move the rows of all features with an active entry, and what each learns beside them.

        lr and λ are those in `settings`. `penalty` weighs what the kind's penalty counts.
        """
        features = weights.features
        first, second = self._scalars(weights)
        width = triton.next_power_of_2(self.d)
        torch.cumsum(self.segments, 0, out=self.slot_ends)
        torch.searchsorted(self.slot_ends, self.slots, right=True, out=self.owner)
        lists = (
            self.counts_by_feature, self.cols_by_feature, self.values, self.low, self.r, self.r_gate, self.level,
            first.values, second.values, settings, self.segments, self.slot_ends, self.part_rows, self.part_sums,
        )  # fmt: skip
        sizes = self.n, self.d, self.d_sae, self.bandwidth, len(self.slots)
        room = 2048 if self.kind == "plain" else 1024  # numbers of gathered rows that fit beside the sums in registers
        entries, warps = max(1, min(8, room // width)), 8 if width >= 1024 else 4
        shape = self.levels, self.kind, width, entries
        launch(gradient.parts, (len(self.slots),), self.owner, features.W_dec, *lists, *sizes, *shape, num_warps=warps)
        launch(
            gradient.update, (self.d_sae,), *features, weights.W_enc, weights.W_dec, *first, *second, self.active,
            self._correction(adam.beta1), self._correction(adam.beta2), *lists, *sizes,
            adam.beta1, adam.beta2, adam.eps, adam.weight_decay, _CORRECTED, adam.beta1 > 0, *shape, num_warps=warps,
        )  # fmt: skip

    def finish(self, weights: Weights, settings: Tensor) -> None:
        """Move b_dec by a step of Adam; put loss, Σr², Σx² and the number of active entries into `figures`."""
        launch(
            gradient.finish, (triton.cdiv(self.d, 32),), self.sums, self.totals, self.figures, weights.b_dec,
            weights.m_b_dec, weights.v_b_dec, settings, self.n, self.d, len(self.sums),
        )  # fmt: skip

    def tell(self, settings: Tensor, told: Settings) -> None:
        """Write the settings of the next step; a kernel's arguments need no host memory that is copied later."""
        launch(gradient.tell, (1,), settings, *told)

    def _correction(self, beta: float) -> Tensor:
        """1 − βᵗ for t = 0 … `_CORRECTED`; made in the first step, as a captured one cannot copy it to the card."""
        if beta not in self._corrections:
            steps = torch.arange(_CORRECTED + 1, dtype=torch.float64)
            table = (1 - torch.tensor(beta, dtype=torch.float64) ** steps).float()
            self._corrections[beta] = table.to(self.low.device)
        return self._corrections[beta]

    def _scalars(self, weights: Weights) -> tuple[Scalar, Scalar]:
        """The learnt numbers of the kind; b_enc stands where there are none and is not touched."""
        nothing = Scalar(*[weights.features.b_enc] * 3)
        return weights.first or nothing, weights.second or nothing

    # --- for those who wait ----------------------------------------------------------------------------------

    def lists_by_feature(self) -> Lists:
        """The lists by feature, close together; waits for the card."""
        ptr = torch.zeros(self.d_sae + 1, dtype=torch.int64, device=self.low.device)
        torch.cumsum(self.counts_by_feature, 0, out=ptr[1:])
        within = torch.arange(self.n, device=ptr.device) < self.counts_by_feature[:, None]
        row, place = within.nonzero(as_tuple=True)
        cols = self.cols_by_feature[row, place]
        return Lists(ptr, cols, self.values[row, cols.long()])


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Run a kernel on the card of its first argument, which need not be the current one."""
    device = arguments[0].device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, **options)
