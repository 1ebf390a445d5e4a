"""The training step on a card, in Triton: from x to moved weights without a word from the host.

    _encode       pre = x · W_encᵀ + b_enc with its threshold, as one bit per entry; values only where the bit is set
    _short        topk kinds: which tokens have too few entries, so that they are encoded again with threshold 0
    _keep_rows    topk: the k largest entries of each token
    _digits, _cut batchtopk: the smallest of the k·n largest entries, by a radix search
    _keep_above   batchtopk: the entries that are not smaller
    _turn         the bits by feature, from the bits by token
    _list         the columns of the set bits of each row
    _decode       r = x̂ − x, and the step's sums
    _parts        gradients of features with long lists, in segments of `SEGMENT` entries
    _update       gradients of all other features, and the optimiser's step of all
    _tell         lr, λ and what else the host knows of a step
    _finish       the step of b_dec, and the step's figures

Lists stand at fixed places: row i of a list of columns begins at i · n_columns, and the value of an entry stays where
the product puts it, at [feature, token]. Almost all of these addresses are never touched. So there is nothing to
sort, to scan or to count beforehand, and no list can be too long. Every sum of fractions is computed by one program in
one order; only counts of digits are added atomically.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sae_pipeline.kernels.reference import AdamSettings, Features, Lists

SEGMENT = tl.constexpr(64)  # entries of a feature that one program sums up
_DIGITS = tl.constexpr(256)  # of a digit of 8 bits
_COUNTERS = 1024  # programs that count digits, at most
_LEVELS = 4  # digits of a number
_FIGURES = tl.constexpr(8)  # room for the sums of one program of _decode
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
        self.digits = ints(_LEVELS, _DIGITS.value)
        self.active = ints(d_sae)  # active entries of each feature
        self.each = triton.cdiv(n, 512)  # tokens that one program decodes
        programs = triton.cdiv(n, self.each)
        self.r = torch.empty(self.levels, n, d, dtype=W.dtype, device=device)
        self.r_gate = torch.empty_like(self.r[0]) if kind == "gated" else self.r[0]
        self.sums, self.totals, self.figures = floats(programs, d), floats(programs, _FIGURES.value), floats(4)
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
            _encode, grid, low, W, b_enc, threshold, self.values, self.bits, self.short, self.n_short,
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
            _turn, grid, self.bits, self.bits_by_feature, self.n, self.d_sae, self.words, self.words_by_feature,
            num_warps=8,
        )  # fmt: skip
        self._list(self.bits_by_feature, self.counts_by_feature, self.segments, self.cols_by_feature, self.n, False)

    def _list(self, bits: Tensor, counts: Tensor, segments: Tensor, cols: Tensor, n_cols: int, again: bool) -> None:
        rows, words = bits.shape
        width = min(256, triton.next_power_of_2(words))
        launch(
            _list, (rows,), bits, counts, segments, cols, self.short, self.n_short, words, n_cols, again,
            segments is not counts, width, num_warps=max(1, width // 64),
        )  # fmt: skip

    def find_short(self, k: int, floor: Tensor, share: float, rise: float, fall: float) -> None:
        """Find the tokens with fewer than k entries, none where `floor` [1] is 0.

        The floor then moves by the factor `rise` where they are fewer than `share` of all tokens, else by `fall`.
        """
        launch(_short, (1,), self.counts, floor, self.short, self.n_short, k, self.n, share, rise, fall, False)

    def find_all_if_short(self, wanted: int, floor: Tensor) -> None:
        """Find all tokens if they have fewer than `wanted` entries together and `floor` [1] is above 0, else none."""
        launch(_short, (1,), self.counts, floor, self.short, self.n_short, wanted, self.n, 0.0, 1.0, 1.0, True)

    def keep_rows(self, k: int) -> None:
        """Keep the bits of the k largest entries of each token, of equal ones the first; `kth` is the smallest."""
        width = min(256, triton.next_power_of_2(self.words))
        launch(
            _keep_rows, (self.n,), self.bits, self.counts, self.cols, self.values, self.kth, k, self.n, self.d_sae,
            self.words, width, num_warps=max(1, width // 64),
        )  # fmt: skip

    def keep_largest(self, wanted: int, least: Tensor, floor: Tensor, settings: Tensor) -> None:
        """Keep the bits of the `wanted` largest entries, and of those that equal the smallest of them.

        The running `least` and `floor`, both [1], follow this smallest.
        """
        self.digits.zero_()
        for level in range(_LEVELS):
            launch(
                _digits, (min(self.n, _COUNTERS),), self.cols, self.counts, self.values, self.digits, wanted,
                self.n, self.d_sae, level,
            )  # fmt: skip
        launch(_cut, (1,), self.digits, self.kth, least, floor, settings, wanted, _LEVELS)
        width = min(256, triton.next_power_of_2(self.words))
        launch(
            _keep_above, (self.n,), self.bits, self.values, self.kth, self.n, self.words, width,
            num_warps=max(1, width // 64),
        )  # fmt: skip

    # --- the gradient step -----------------------------------------------------------------------------------

    def decode(self, x: Tensor, weights: Weights, settings: Tensor) -> None:
        """Compute r = x̂ − x for x [n, d_in] and the step's sums, from the lists by token."""
        first, second = self._scalars(weights)
        width = triton.next_power_of_2(self.d)
        launch(
            _decode, (len(self.sums), self.levels), self.cols, self.counts, self.values, weights.W_dec, weights.b_dec,
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
        launch(_parts, (len(self.slots),), self.owner, features.W_dec, *lists, *sizes, *shape, num_warps=warps)
        launch(
            _update, (self.d_sae,), *features, weights.W_enc, weights.W_dec, *first, *second, self.active,
            self._correction(adam.beta1), self._correction(adam.beta2), *lists, *sizes,
            adam.beta1, adam.beta2, adam.eps, _CORRECTED, adam.beta1 > 0, *shape, num_warps=warps,
        )  # fmt: skip

    def finish(self, weights: Weights, settings: Tensor) -> None:
        """Move b_dec by a step of Adam; put loss, Σr², Σx² and the number of active entries into `figures`."""
        launch(
            _finish, (triton.cdiv(self.d, 32),), self.sums, self.totals, self.figures, weights.b_dec,
            weights.m_b_dec, weights.v_b_dec, settings, self.n, self.d, len(self.sums),
        )  # fmt: skip

    def tell(self, settings: Tensor, told: Settings) -> None:
        """Write the settings of the next step; a kernel's arguments need no host memory that is copied later."""
        launch(_tell, (1,), settings, *told)

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


# --- kernels: which entries are active ----------------------------------------------------------------------


@triton.jit
def _ones(word):
    """The number of set bits of uint32 words."""
    word -= (word >> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def _encode(
    x, W, b_enc, threshold, values, bits, short, n_short, n, d, d_sae, words,
    again: tl.constexpr, one_threshold: tl.constexpr, T: tl.constexpr, F: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Compute a tile of T tokens and F features; see Workspace.encode."""
    tiles = tl.cdiv(n, T)
    token = tl.program_id(0) % tiles * T + tl.arange(0, T)
    feature = tl.program_id(0) // tiles * F + tl.arange(0, F)
    real, inside = token < n, feature < d_sae
    if again:
        n_again = tl.load(n_short)
        if tl.program_id(0) % tiles * T >= n_again:
            return
        real = token < n_again
        token = tl.load(short + token, real, 0)
    pre = tl.zeros([T, F], tl.float32)
    for first in range(0, d, K):
        dim = first + tl.arange(0, K)
        left = tl.load(x + token.to(tl.int64)[:, None] * d + dim[None, :], real[:, None] & (dim < d)[None, :], 0.0)
        right = tl.load(W + feature.to(tl.int64)[None, :] * d + dim[:, None], inside[None, :] & (dim < d)[:, None], 0.0)
        pre = tl.dot(left, right, pre, input_precision="ieee")
    pre += tl.load(b_enc + feature, inside, 0.0)[None, :]
    low = tl.load(threshold + (feature * 0 if one_threshold else feature), inside, 0.0)
    on = (pre > low[None, :]) & real[:, None] & inside[None, :]
    tile = values + (tl.program_id(0) // tiles).to(tl.int64) * F * n  # offsets within a tile fit into 32 bits
    tl.store(tile + tl.arange(0, F)[None, :] * n + token[:, None], pre, on)
    place = tl.arange(0, 32)
    word = tl.sum(tl.reshape(on, [T, F // 32, 32]).to(tl.int32) << place[None, None, :], 2)
    at = tl.program_id(0) // tiles * (F // 32) + tl.arange(0, F // 32)
    tl.store(bits + token[:, None] * words + at[None, :], word, real[:, None] & (at < words)[None, :])


@triton.jit
def _turn(bits, turned, n, d_sae, words, turned_words):
    """Turn the bits of 256 tokens and 64 features around."""
    token = tl.program_id(0) * 256 + tl.arange(0, 256)
    at = tl.program_id(1) * 2 + tl.arange(0, 2)
    place = tl.arange(0, 32)
    word = tl.load(bits + token[:, None] * words + at[None, :], (token < n)[:, None] & (at < words)[None, :], 0)
    on = (tl.reshape(word, [8, 32, 2])[:, :, :, None] >> place[None, None, None, :]) & 1
    word = tl.sum(on << place[None, :, None, None], 1)
    feature = at[:, None] * 32 + place[None, :]
    to = tl.program_id(0) * 8 + tl.arange(0, 8)
    inside = (to < turned_words)[:, None, None] & (feature < d_sae)[None, :, :]
    tl.store(turned + feature.to(tl.int64)[None, :, :] * turned_words + to[:, None, None], word, inside)


@triton.jit
def _list(
    bits, counts, segments, cols, short, n_short, words, n_cols,
    again: tl.constexpr, segmented: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """List the set bits of one row, W words at a time."""
    row = tl.program_id(0)
    if again:
        if row >= tl.load(n_short):
            return
        row = tl.load(short + row)
    row_bits, row_cols = bits + row.to(tl.int64) * words, cols + row.to(tl.int64) * n_cols
    found = 0
    for first in range(0, words, W):
        at = first + tl.arange(0, W)
        word = tl.load(row_bits + at, at < words, 0).to(tl.uint32, bitcast=True)
        ones = _ones(word)
        place = found + tl.cumsum(ones, 0) - ones
        for _ in range(tl.max(ones, 0)):
            lowest = word & (~word + 1)
            tl.store(row_cols + place, at * 32 + _ones(lowest - 1), word != 0)
            word ^= lowest
            place += 1
        found += tl.sum(ones, 0)
    tl.store(counts + row, found)
    if segmented:
        tl.store(segments + row, tl.where(found > SEGMENT, tl.cdiv(found, SEGMENT), 0))


@triton.jit
def _short(counts, floor, short, n_short, wanted, n, share, rise, fall, of_all: tl.constexpr):
    """See Workspace.find_short and find_all_if_short."""
    old = tl.load(floor)
    total, found = tl.zeros([], tl.int64), 0
    for first in range(0, n, 1024):
        token = first + tl.arange(0, 1024)
        count = tl.load(counts + token, token < n, wanted)
        if of_all:
            tl.store(short + token, token, token < n)
            total += tl.sum(tl.where(token < n, count, 0).to(tl.int64), 0)
        else:
            on = (count < wanted).to(tl.int32)
            tl.store(short + found + tl.cumsum(on, 0) - 1, token, on > 0)
            found += tl.sum(on, 0)
    if of_all:
        found = tl.where(total < wanted, n, 0)
    elif old > 0:
        tl.store(floor, old * tl.where(found < share * n, rise, fall))
    tl.store(n_short, tl.where(old > 0, found, 0))


@triton.jit
def _ascending(values, col, token, n, on):
    """The values of a token's entries as ascending integers; they are positive."""
    return tl.load(values + col.to(tl.int64) * n + token, on, 0.0).to(tl.int32, bitcast=True)


@triton.jit
def _keep(bits, values, token, least, equals, n, words, W: tl.constexpr):
    """Keep the bits of a token's entries above `least` (as an integer), and of the first `equals` that equal it."""
    for first in range(0, words, W):
        at = first + tl.arange(0, W)
        word = tl.load(bits + token * words + at, at < words, 0).to(tl.uint32, bitcast=True)
        above, same = word & 0, word & 0
        for _ in range(tl.max(_ones(word), 0)):
            lowest = word & (~word + 1)
            value = _ascending(values, at * 32 + _ones(lowest - 1), token, n, word != 0)
            above |= tl.where(value > least, lowest, 0)
            same |= tl.where(value == least, lowest, 0)
            word ^= lowest
        ones = _ones(same)
        room = equals - (tl.cumsum(ones, 0) - ones)
        equals -= tl.sum(ones, 0)
        for _ in range(tl.max(ones, 0)):
            lowest = same & (~same + 1)
            above |= tl.where(room > 0, lowest, 0)
            same ^= lowest
            room -= 1
        tl.store(bits + token * words + at, above.to(tl.int32, bitcast=True), at < words)


@triton.jit
def _keep_rows(bits, counts, cols, values, kth, k, n, d_sae, words, W: tl.constexpr):
    """Find the k-th largest entry of one token by bisection, and keep the entries down to it."""
    token = tl.program_id(0)
    count = tl.load(counts + token)
    least = tl.zeros([], tl.int32)
    if count >= k:
        listed = cols + token.to(tl.int64) * d_sae
        entry = tl.arange(0, 256)
        few = _ascending(values, tl.load(listed + entry, entry < count, 0), token, n, entry < count)
        high = 0x7F800000
        for _ in range(31):  # the largest number that k entries reach
            middle = least + (high - least + 1) // 2
            reach = tl.sum((few >= middle).to(tl.int32), 0)
            for first in range(256, count, 256):
                on = first + entry < count
                more = _ascending(values, tl.load(listed + first + entry, on, 0), token, n, on)
                reach += tl.sum((more >= middle).to(tl.int32), 0)
            least, high = tl.where(reach >= k, middle, least), tl.where(reach >= k, high, middle - 1)
        above = tl.sum((few > least).to(tl.int32), 0)
        for first in range(256, count, 256):
            on = first + entry < count
            more = _ascending(values, tl.load(listed + first + entry, on, 0), token, n, on)
            above += tl.sum((more > least).to(tl.int32), 0)
        _keep(bits, values, token, least, k - above, n, words, W)
    tl.store(kth + token, least.to(tl.float32, bitcast=True))


@triton.jit
def _found(digits, level, wanted):
    """The first `level` digits of the smallest of the `wanted` largest numbers, and how many are wanted below them.

    `wanted` counts all numbers where there are fewer; nothing is wanted where there are none.
    """
    prefix, digit = tl.zeros([], tl.uint32), tl.arange(0, _DIGITS)
    wanted += tl.zeros([], tl.int32)  # an argument of 1 is a constant, which a loop cannot change
    for done in range(level):
        number = tl.load(digits + done * _DIGITS + digit)
        total = tl.sum(number, 0)
        if done == 0:
            wanted = tl.minimum(wanted, total)
        reach = total - tl.cumsum(number, 0) + number  # how many have this digit or a larger one
        chosen = tl.max(tl.where(reach >= wanted, digit, 0), 0)
        wanted -= tl.sum(tl.where(digit > chosen, number, 0), 0)
        prefix = (prefix << 8) | chosen.to(tl.uint32)
    return prefix, wanted


@triton.jit
def _digits(cols, counts, values, digits, wanted, n, d_sae, level: tl.constexpr):
    """Count the digits number `level` of some tokens' entries that begin with the digits found so far."""
    prefix, wanted = _found(digits, level, wanted)
    number = tl.zeros([_DIGITS], tl.int32)
    for i in range(tl.cdiv(n, tl.num_programs(0))):
        token = tl.program_id(0) + i * tl.num_programs(0)
        count = tl.load(counts + token, token < n, 0)
        listed = cols + token.to(tl.int64) * d_sae
        for first in range(0, count, 256):
            entry = first + tl.arange(0, 256)
            on = entry < count
            value = _ascending(values, tl.load(listed + entry, on, 0), token, n, on).to(tl.uint32, bitcast=True) << 1
            if level > 0:
                on = on & ((value >> (32 - 8 * level)) == prefix)
            number += tl.histogram(((value >> (24 - 8 * level)) & 255).to(tl.int32), _DIGITS, on)
    tl.atomic_add(digits + level * _DIGITS + tl.arange(0, _DIGITS), number, number > 0)


@triton.jit
def _cut(digits, cut, least, floor, settings, wanted, levels: tl.constexpr):
    """Write the smallest of the `wanted` largest entries to `cut`, and let the running numbers follow it."""
    found, _ = _found(digits, levels, wanted)
    value = (found >> 1).to(tl.float32, bitcast=True)
    old = tl.load(least)
    value = tl.where(value > 0, value, old)
    tl.store(cut, value)
    tl.store(least, old + tl.load(settings + 4) * (value - old))
    tl.store(floor, 0.95 * value)


@triton.jit
def _keep_above(bits, values, cut, n, words, W: tl.constexpr):
    """Keep the bits of one token's entries that are not below the cut."""
    least = tl.load(cut).to(tl.int32, bitcast=True)
    _keep(bits, values, tl.program_id(0), least, words * 32, n, words, W)


# --- kernels: the gradient step -----------------------------------------------------------------------------


@triton.jit
def rows_of(matrix, row, dim, d, on):
    """matrix[row, dim] in its dtype, 0 where `on` is false or dim ≥ d: [len(row), len(dim)]."""
    return tl.load(matrix + row.to(tl.int64)[:, None] * d + dim[None, :], on[:, None] & (dim < d)[None, :], 0.0)


@triton.jit
def _decode(
    cols, counts, values, W_dec, b_dec, x, first, second, level, r, r_gate, sums, totals, settings,
    n, d, d_sae, each, levels: tl.constexpr, kind: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Decode some tokens for one of the nested dictionaries: the mean residual of it and of the larger ones.

    That mean is a decoding in which a feature counts for the share of these dictionaries that hold it.
    """
    own, dim = tl.program_id(1), tl.arange(0, D)
    inside = dim < d
    b = tl.load(b_dec + dim, inside, 0.0)
    total = tl.zeros([D], tl.float32)
    squared, power = tl.zeros([D], tl.float32), tl.zeros([D], tl.float32)
    squared_gate = tl.zeros([D], tl.float32)
    penalty, active = tl.zeros([E], tl.float32), tl.zeros([E], tl.float32)
    for i in range(tl.minimum(each, n - tl.program_id(0) * each)):
        token = tl.program_id(0) * each + i
        row = token.to(tl.int64) * d
        target = tl.load(x + row + dim, inside, 0.0)
        out, out_gate = b - target, b - target
        if levels > 1:
            out *= (levels - own) / levels
        count = tl.load(counts + token)
        for start in range(0, count, E):
            entry = start + tl.arange(0, E)
            on = entry < count
            col = tl.load(cols + token.to(tl.int64) * d_sae + entry, on, 0)
            value = tl.load(values + col.to(tl.int64) * n + token, on, 0.0)
            rows = rows_of(W_dec, col, dim, d, on).to(tl.float32)
            f = value
            if kind == "jump":
                f = tl.where(value > tl.exp(tl.load(first + col, on, 0.0)), value, 0.0)
                penalty += (f > 0).to(tl.float32)
            elif kind == "gated":
                f = tl.maximum(tl.exp(tl.load(first + col, on, 0.0)) * value + tl.load(second + col, on, 0.0), 0.0)
                f = tl.where(on, f, 0.0)
                out_gate += tl.sum(value[:, None] * rows, 0)
                penalty += value
            else:
                penalty += value
            active += (f > 0).to(tl.float32)
            if levels > 1:
                f *= (levels - tl.maximum(own, tl.load(level + col, on, 0))).to(tl.float32) / levels
            out += tl.sum(f[:, None] * rows, 0)
        tl.store(r + own.to(tl.int64) * n * d + row + dim, out, inside)
        total += out
        squared += out * out
        power += target * target
        if kind == "gated":
            tl.store(r_gate + row + dim, out_gate, inside)
            squared_gate += out_gate * out_gate
    if own == 0:
        tl.store(sums + tl.program_id(0) * d + dim, total, inside)
    if own == levels - 1:
        to = totals + tl.program_id(0) * _FIGURES
        tl.store(to, tl.sum(squared, 0) * levels * levels)
        tl.store(to + 1, tl.sum(power, 0))
        tl.store(to + 2, tl.sum(active, 0))
        extra = tl.load(settings + 1) * tl.sum(penalty, 0)
        if kind == "gated":
            extra += tl.sum(squared_gate, 0)
        tl.store(to + 3, extra)


@triton.jit
def _gradients(
    cols, values, x, r, r_gate, w, a, b, begin, end, row, dim, n, d, penalty, bandwidth,
    kind: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of one feature over its entries begin … end − 1, E at a time.

    a and b are what the kind has learnt for the feature: jumprelu θ and nothing, gated e^stretch and shift. Returns
    the gradients of W_enc [D], W_dec [D], b_enc, two sums from which those of a and b follow, and the active entries.
    """
    g_enc, g_dec = tl.zeros([D], tl.float32), tl.zeros([D], tl.float32)
    g_b, g_first, g_second = tl.zeros([E], tl.float32), tl.zeros([E], tl.float32), tl.zeros([E], tl.float32)
    active = tl.zeros([E], tl.float32)
    for start in range(begin, end, E):
        entry = start + tl.arange(0, E)
        on = entry < end
        token = tl.load(cols + row.to(tl.int64) * n + entry, on, 0)
        f = tl.load(values + row.to(tl.int64) * n + token, on, 0.0)
        r_rows = rows_of(r, token, dim, d, on).to(tl.float32)
        slope = 2.0 / n * tl.sum(r_rows * w[None, :], 1)
        if kind == "jump":
            near = on & (f - a < bandwidth / 2)
            g_first += tl.where(near, slope, 0.0)
            g_second += near.to(tl.float32)
            on = on & (f > a)
            f = tl.where(on, f, 0.0)
            g = tl.where(on, slope, 0.0)
        elif kind == "gated":
            gate = f
            g = tl.where(on, 2.0 / n * tl.sum(rows_of(r_gate, token, dim, d, on).to(tl.float32) * w[None, :], 1), 0.0)
            g += tl.where(on, penalty / n, 0.0)
            on = on & (a * gate + b > 0)
            f = tl.where(on, a * gate + b, 0.0)
            slope = tl.where(on, slope, 0.0)
            g += a * slope
            g_first += a * gate * slope
            g_second += slope
        else:
            g = tl.where(on, slope + penalty / n, 0.0)
        active += on.to(tl.float32)
        g_b += g
        g_enc += tl.sum(g[:, None] * rows_of(x, token, dim, d, entry < end).to(tl.float32), 0)
        g_dec += tl.sum((2.0 / n * f)[:, None] * r_rows, 0)
    return g_enc, g_dec, tl.sum(g_b, 0), tl.sum(g_first, 0), tl.sum(g_second, 0), tl.sum(active, 0)


@triton.jit
def _learnt(first, second, row, kind: tl.constexpr):
    """What the kind has learnt for a feature, as `_gradients` takes it."""
    a, b = 0.0, 0.0
    if kind != "plain":
        a = tl.exp(tl.load(first + row))
    if kind == "gated":
        b = tl.load(second + row)
    return a, b


@triton.jit
def _parts(
    owner, W_dec, counts, cols, values, x, r, r_gate, level, first, second, settings, segments, slot_ends,
    part_rows, part_sums, n, d, d_sae, bandwidth, room,
    levels: tl.constexpr, kind: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Sum the gradients over one segment of a long list."""
    slot = tl.program_id(0)
    row = tl.load(owner + slot).to(tl.int32)
    if row >= d_sae:
        return
    dim = tl.arange(0, D)
    inside = dim < d
    begin = (slot - (tl.load(slot_ends + row).to(tl.int32) - tl.load(segments + row))) * SEGMENT
    end = tl.minimum(tl.load(counts + row), begin + SEGMENT)
    w = tl.load(W_dec + row.to(tl.int64) * d + dim, inside, 0.0)
    a, b = _learnt(first, second, row, kind)
    if levels > 1:
        r += tl.load(level + row).to(tl.int64) * n * d
    penalty = tl.load(settings + 1)
    g_enc, g_dec, g_b, g_first, g_second, active = _gradients(
        cols, values, x, r, r_gate, w, a, b, begin, end, row, dim, n, d, penalty, bandwidth, kind, D, E
    )
    at = slot.to(tl.int64) * 2 * d + dim
    tl.store(part_rows + at, g_enc, inside)
    tl.store(part_rows + at + d, g_dec, inside)
    tl.store(part_sums + slot * 4, g_b)
    tl.store(part_sums + slot * 4 + 1, g_first)
    tl.store(part_sums + slot * 4 + 2, g_second)
    tl.store(part_sums + slot * 4 + 3, active)


@triton.jit
def _delta(g, m, at, inside, v, c1, c2, d, lr, beta1, beta2, eps, momentum: tl.constexpr):
    """The optimiser's step for the gradient g of one row, and the row's new second moment."""
    square = tl.sum(g * g, 0) / d
    moment = beta2 * v + (1 - beta2) * square
    if momentum:
        g = beta1 * tl.load(m + at, inside, 0.0) + (1 - beta1) * g
        tl.store(m + at, g, inside)
        g /= c1
    return lr / (tl.sqrt(tl.maximum(moment / c2, square)) + eps) * g, moment


@triton.jit
def _move_scalar(values, moments, n_steps, corrections, row, g, lr, beta2, last):
    """Move one learnt number where its gradient is not 0."""
    old, v, steps = tl.load(values + row), tl.load(moments + row), tl.load(n_steps + row) + 1
    tl.debug_barrier()  # all threads have read before one of them writes
    if g != 0:
        moment = beta2 * v + (1 - beta2) * g * g
        c2 = tl.load(corrections + tl.minimum(steps.to(tl.int32), last))
        tl.store(moments + row, moment)
        tl.store(n_steps + row, steps)
        tl.store(values + row, old - lr * g / (tl.sqrt(tl.maximum(moment / c2, g * g)) + 1e-8))


@triton.jit
def _update(
    W_enc, W_dec, b_enc, v_enc, v_dec, v_b, m_enc, m_dec, m_b, n_steps, low_enc, low_dec,
    first_values, first_v, first_steps, second_values, second_v, second_steps, active_counts, correct1, correct2,
    counts, cols, values, x, r, r_gate, level, first, second, settings, segments, slot_ends, part_rows, part_sums,
    n, d, d_sae, bandwidth, room, beta1, beta2, eps, last,
    momentum: tl.constexpr, levels: tl.constexpr, kind: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of one feature over its entries, or over its segments, and take the optimiser's step."""
    row, dim = tl.program_id(0), tl.arange(0, D)
    count = tl.load(counts + row)
    if count == 0:
        tl.store(active_counts + row, 0)
        return
    inside = dim < d
    at = row.to(tl.int64) * d + dim
    w = tl.load(W_dec + at, inside, 0.0)
    a, b = _learnt(first, second, row, kind)
    if levels > 1:
        r += tl.load(level + row).to(tl.int64) * n * d
    lr, penalty = tl.load(settings), tl.load(settings + 1)
    parts, slot_end = tl.load(segments + row), tl.load(slot_ends + row).to(tl.int32)
    parts = tl.where(slot_end <= room, parts, 0)  # where there is no room for the segments, all entries are summed here
    g_enc, g_dec, g_b, g_first, g_second, active = _gradients(
        cols, values, x, r, r_gate, w, a, b, tl.where(parts > 0, count, 0), count, row, dim, n, d, penalty,
        bandwidth, kind, D, E,
    )  # fmt: skip
    for i in range(parts):
        slot = slot_end - parts + i
        part = part_rows + slot.to(tl.int64) * 2 * d + dim
        g_enc += tl.load(part, inside, 0.0)
        g_dec += tl.load(part + d, inside, 0.0)
        g_b += tl.load(part_sums + slot * 4)
        g_first += tl.load(part_sums + slot * 4 + 1)
        g_second += tl.load(part_sums + slot * 4 + 2)
        active += tl.load(part_sums + slot * 4 + 3)
    tl.store(active_counts + row, active.to(tl.int32))
    if (active > 0) | (kind == "gated"):
        steps = tl.load(n_steps + row) + 1
        moment_enc, moment_dec, moment_b = tl.load(v_enc + row), tl.load(v_dec + row), tl.load(v_b + row)
        bias = tl.load(b_enc + row)
        c1, c2 = 1.0, tl.load(correct2 + tl.minimum(steps, last))
        if momentum:
            c1 = tl.load(correct1 + tl.minimum(steps, last))
            g_mean = beta1 * tl.load(m_b + row) + (1 - beta1) * g_b
        else:
            g_mean = g_b
        tl.debug_barrier()  # all threads have read before one of them writes
        g_dec -= tl.sum(g_dec * w, 0) * w
        move, moment = _delta(g_dec, m_dec, at, inside, moment_dec, c1, c2, d, lr, beta1, beta2, eps, momentum)
        tl.store(v_dec + row, moment)
        w -= move
        w /= tl.sqrt(tl.sum(w * w, 0))
        tl.store(W_dec + at, w, inside)
        tl.store(low_dec + at, w, inside)
        move, moment = _delta(g_enc, m_enc, at, inside, moment_enc, c1, c2, d, lr, beta1, beta2, eps, momentum)
        tl.store(v_enc + row, moment)
        w = tl.load(W_enc + at, inside, 0.0) - move
        tl.store(W_enc + at, w, inside)
        tl.store(low_enc + at, w, inside)
        moment = beta2 * moment_b + (1 - beta2) * g_b * g_b
        tl.store(v_b + row, moment)
        if momentum:
            tl.store(m_b + row, g_mean)
        tl.store(b_enc + row, bias - lr / (tl.sqrt(tl.maximum(moment / c2, g_b * g_b)) + eps) * (g_mean / c1))
        tl.store(n_steps + row, steps)
    if kind == "jump":
        g = -a / (bandwidth * n) * (a * n * g_first + penalty * g_second)
        _move_scalar(first_values, first_v, first_steps, correct2, row, g, lr, beta2, last)
    elif kind == "gated":
        _move_scalar(first_values, first_v, first_steps, correct2, row, g_first, lr, beta2, last)
        _move_scalar(second_values, second_v, second_steps, correct2, row, g_second, lr, beta2, last)


@triton.jit
def _tell(settings, lr, penalty, lr_b_dec, correct_b_dec, follow):
    """Write the settings in the order of `Settings`."""
    tl.store(settings, lr)
    tl.store(settings + 1, penalty)
    tl.store(settings + 2, lr_b_dec)
    tl.store(settings + 3, correct_b_dec)
    tl.store(settings + 4, follow)


@triton.jit
def _finish(sums, totals, figures, b_dec, m, v, settings, n, d, programs):
    """Move 32 numbers of b_dec by a step of Adam; one program also adds up the figures of the step."""
    dim = tl.program_id(0) * 32 + tl.arange(0, 32)
    inside = dim < d
    g = tl.zeros([32], tl.float32)
    for start in range(0, programs, 64):
        part = start + tl.arange(0, 64)
        g += tl.sum(
            tl.load(sums + part[:, None] * d + dim[None, :], (part < programs)[:, None] & inside[None, :], 0.0), 0
        )
    g *= 2.0 / n
    first = 0.9 * tl.load(m + dim, inside, 0.0) + 0.1 * g
    moment = 0.999 * tl.load(v + dim, inside, 0.0) + 0.001 * g * g
    step = tl.load(settings + 2) * first / (tl.sqrt(moment / tl.load(settings + 3)) + 1e-8)
    tl.store(m + dim, first, inside)
    tl.store(v + dim, moment, inside)
    tl.store(b_dec + dim, tl.load(b_dec + dim, inside, 0.0) - step, inside)
    if tl.program_id(0) == 0:
        squared, power, active, extra = 0.0, 0.0, 0.0, 0.0
        for start in range(0, programs, 64):
            part = start + tl.arange(0, 64)
            at = totals + part * _FIGURES
            squared += tl.sum(tl.load(at, part < programs, 0.0), 0)
            power += tl.sum(tl.load(at + 1, part < programs, 0.0), 0)
            active += tl.sum(tl.load(at + 2, part < programs, 0.0), 0)
            extra += tl.sum(tl.load(at + 3, part < programs, 0.0), 0)
        tl.store(figures, (squared + extra) / n)
        tl.store(figures + 1, squared)
        tl.store(figures + 2, power)
        tl.store(figures + 3, active)
