"""Triton kernels that find the active entries of a step; gpu_step.py runs them in their order."""

import triton
import triton.language as tl

from sae_pipeline.kernels.gpu_gradient import SEGMENT

DIGITS = tl.constexpr(256)  # of a digit of 8 bits


@triton.jit
def _ones(word):
    """The number of set bits of uint32 words."""
    word -= (word >> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def encode(
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
def turn(bits, turned, n, d_sae, words, turned_words):
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
def columns(
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
def short(counts, floor, short, n_short, wanted, n, share, rise, fall, of_all: tl.constexpr):
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
def keep_rows(bits, counts, cols, values, kth, k, n, d_sae, words, W: tl.constexpr):
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
    prefix, digit = tl.zeros([], tl.uint32), tl.arange(0, DIGITS)
    wanted += tl.zeros([], tl.int32)  # an argument of 1 is a constant, which a loop cannot change
    for done in range(level):
        number = tl.load(digits + done * DIGITS + digit)
        total = tl.sum(number, 0)
        if done == 0:
            wanted = tl.minimum(wanted, total)
        reach = total - tl.cumsum(number, 0) + number  # how many have this digit or a larger one
        chosen = tl.max(tl.where(reach >= wanted, digit, 0), 0)
        wanted -= tl.sum(tl.where(digit > chosen, number, 0), 0)
        prefix = (prefix << 8) | chosen.to(tl.uint32)
    return prefix, wanted


@triton.jit
def digits(cols, counts, values, digits, wanted, n, d_sae, level: tl.constexpr):
    """Count the digits number `level` of some tokens' entries that begin with the digits found so far."""
    prefix, wanted = _found(digits, level, wanted)
    number = tl.zeros([DIGITS], tl.int32)
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
            number += tl.histogram(((value >> (24 - 8 * level)) & 255).to(tl.int32), DIGITS, on)
    tl.atomic_add(digits + level * DIGITS + tl.arange(0, DIGITS), number, number > 0)


@triton.jit
def cut(digits, cut, least, floor, settings, wanted, levels: tl.constexpr):
    """Write the smallest of the `wanted` largest entries to `cut`, and let the running numbers follow it."""
    found, _ = _found(digits, levels, wanted)
    value = (found >> 1).to(tl.float32, bitcast=True)
    old = tl.load(least)
    value = tl.where(value > 0, value, old)
    tl.store(cut, value)
    tl.store(least, old + tl.load(settings + 4) * (value - old))
    tl.store(floor, 0.95 * value)


@triton.jit
def keep_above(bits, values, cut, n, words, W: tl.constexpr):
    """Keep the bits of one token's entries that are not below the cut."""
    least = tl.load(cut).to(tl.int32, bitcast=True)
    _keep(bits, values, tl.program_id(0), least, words * 32, n, words, W)
