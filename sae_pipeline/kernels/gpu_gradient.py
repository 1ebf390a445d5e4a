"""Triton kernels of the gradient step, from lists of active entries; gpu_step.py runs them in their order."""

import triton
import triton.language as tl

SEGMENT = tl.constexpr(64)  # entries of a feature that one program sums up
FIGURES = tl.constexpr(8)  # room for the sums of one program of decode


@triton.jit
def rows_of(matrix, row, dim, d, on):
    """matrix[row, dim] in its dtype, 0 where `on` is false or dim ≥ d: [len(row), len(dim)]."""
    return tl.load(matrix + row.to(tl.int64)[:, None] * d + dim[None, :], on[:, None] & (dim < d)[None, :], 0.0)


@triton.jit
def decode(
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
        to = totals + tl.program_id(0) * FIGURES
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
def parts(
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
def update(
    W_enc, W_dec, b_enc, v_enc, v_dec, v_b, m_enc, m_dec, m_b, n_steps, low_enc, low_dec,
    first_values, first_v, first_steps, second_values, second_v, second_steps, active_counts, correct1, correct2,
    counts, cols, values, x, r, r_gate, level, first, second, settings, segments, slot_ends, part_rows, part_sums,
    n, d, d_sae, bandwidth, room, beta1, beta2, eps, weight_decay, last,
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
        w = (1 - lr * weight_decay) * tl.load(W_enc + at, inside, 0.0) - move
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
def tell(settings, lr, penalty, lr_b_dec, correct_b_dec, follow):
    """Write the settings in the order of `Settings`."""
    tl.store(settings, lr)
    tl.store(settings + 1, penalty)
    tl.store(settings + 2, lr_b_dec)
    tl.store(settings + 3, correct_b_dec)
    tl.store(settings + 4, follow)


@triton.jit
def finish(sums, totals, figures, b_dec, m, v, settings, n, d, programs):
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
            at = totals + part * FIGURES
            squared += tl.sum(tl.load(at, part < programs, 0.0), 0)
            power += tl.sum(tl.load(at + 1, part < programs, 0.0), 0)
            active += tl.sum(tl.load(at + 2, part < programs, 0.0), 0)
            extra += tl.sum(tl.load(at + 3, part < programs, 0.0), 0)
        tl.store(figures, (squared + extra) / n)
        tl.store(figures + 1, squared)
        tl.store(figures + 2, power)
        tl.store(figures + 3, active)
