"""Plain-torch twins of the kernels: the same functions, slower, on any device and in any float dtype.

They define what the kernels compute and serve as the fallback. `dense_step` is the training step for many active
entries.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Lists(NamedTuple):
    """A sparse matrix as ragged lists (CSR). The entries of row r are ptr[r] … ptr[r+1] − 1, by ascending column.

    Lists by token have tokens as rows and features as columns; lists by feature are the transpose.
    """

    ptr: Tensor  # [n_rows + 1] int64
    cols: Tensor  # [nnz] int32
    values: Tensor  # [nnz] float

    @property
    def rows(self) -> Tensor:
        """The row of every entry, int64 [nnz]."""
        n_rows = len(self.ptr) - 1
        rows = torch.arange(n_rows, device=self.ptr.device)
        return torch.repeat_interleave(rows, self.ptr.diff(), output_size=len(self.cols))

    def part(self, span: slice) -> "Lists":
        """The rows start … stop − 1 of `span`; entries are not copied."""
        ptr = self.ptr[span.start : span.stop + 1]
        entries = slice(int(ptr[0]), int(ptr[-1]))
        return Lists(ptr - ptr[0], self.cols[entries], self.values[entries])


class Residual(NamedTuple):
    """r = x̂ − x of a batch."""

    r: Tensor  # [n_tokens, d_in]
    mean: Tensor  # [d_in] mean of r over tokens, before r is rounded to its dtype
    squared: float  # Σ r², likewise


class AdamSettings(NamedTuple):
    """The settings of one step; see sae/kinds/engine.py for the algorithm."""

    lr: float
    l1: float  # weight of Σf
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  # of W_enc


class Rule(NamedTuple):
    """How the gradient df of an entry follows from its slope 2/n·r·W_dec[i]: df = gain·slope + extra."""

    gain: Tensor | None = None  # [nnz]; None: 1
    extra: Tensor | None = None  # [nnz]; None: l1 / n
    slope: Tensor | None = None  # [nnz], if given the slopes are written to it


NO_RULE = Rule()


class Features(NamedTuple):
    """The parameters and the optimiser's state of all features; updated in place."""

    W_enc: Tensor  # [d_sae, d_in]: feature i's encoder column as a row
    W_dec: Tensor  # [d_sae, d_in]
    b_enc: Tensor  # [d_sae]
    v_enc: Tensor  # [d_sae] second moments, one per row
    v_dec: Tensor  # [d_sae]
    v_b: Tensor  # [d_sae]
    m_enc: Tensor  # [d_sae, d_in] first moments, like the rows; unused, and [d_sae, 0], where beta1 is 0
    m_dec: Tensor  # [d_sae, d_in]
    m_b: Tensor  # [d_sae]
    n_steps: Tensor  # [d_sae] int32, steps in which the feature had an entry


def stack(parts: Sequence[Lists]) -> Lists:
    """The rows of all parts, of which there is at least one, one after another."""
    if len(parts) == 1:
        return parts[0]
    counts = torch.cat([part.ptr.diff() for part in parts])
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Lists(ptr, torch.cat([part.cols for part in parts]), torch.cat([part.values for part in parts]))


def compress(dense: Tensor) -> Lists:
    """The positive entries of dense [n_rows, n_cols], row by row."""
    rows, cols = (dense > 0).nonzero(as_tuple=True)
    ptr = torch.zeros(len(dense) + 1, dtype=torch.int64, device=dense.device)
    ptr[1:] = torch.bincount(rows, minlength=len(dense)).cumsum(0)
    return Lists(ptr, cols.int(), dense[rows, cols])


def topk_rows(lists: Lists, k: int) -> Lists:
    """The k largest entries of every row, in their old order; among equals the first are kept."""
    rows = lists.rows
    order = torch.argsort(lists.values, descending=True, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - lists.ptr[rows]
    return keep(lists, rank < k)


def keep(lists: Lists, on: Tensor) -> Lists:
    """The entries where `on` [nnz] bool is true."""
    before = torch.zeros(len(on) + 1, dtype=torch.int64, device=on.device)
    torch.cumsum(on, 0, out=before[1:])
    return Lists(before[lists.ptr], lists.cols[on], lists.values[on])


def transpose(lists: Lists, n_cols: int) -> tuple[Lists, Tensor]:
    """The same entries as lists by column, and the index of each in `lists` [nnz]. Within a column the order stays."""
    order = torch.argsort(lists.cols, stable=True)
    ptr = torch.zeros(n_cols + 1, dtype=torch.int64, device=order.device)
    ptr[1:] = torch.bincount(lists.cols, minlength=n_cols).cumsum(0)
    return Lists(ptr, lists.rows[order].int(), lists.values[order]), order


def spmm(lists: Lists, weight: Tensor) -> Tensor:
    """Sparse · dense: out[r] = Σ values[e] · weight[cols[e]] over the entries e of row r; [n_rows, d]."""
    return sum_rows(lists, lists.values[:, None] * weight[lists.cols.long()])


def sum_rows(lists: Lists, per_entry: Tensor) -> Tensor:
    """Σ of `per_entry` [nnz, …] over the entries of each row, in their order: [n_rows, …].

    index_add_ gives the same bits on a CPU, but on a card it adds atomically, in an order that timing decides.
    """
    return torch.segment_reduce(per_entry, "sum", offsets=lists.ptr, initial=0)


def sddmm(lists: Lists, a: Tensor, b: Tensor) -> Tensor:
    """Dense · denseᵀ at the listed entries: out[e] = a[row of e] · b[cols[e]]; [nnz]."""
    return (a[lists.rows] * b[lists.cols.long()]).sum(1)


def largest(dense: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The columns (int32 [n, k]) and values (float [n, k]) of the k largest numbers in each row of dense [n, width].

    Largest first, among equals the lower column first; −1 and 0 where there are fewer than k columns.
    """
    best = torch.sort(dense, dim=1, descending=True, stable=True)
    missing = (0, max(0, k - dense.shape[1]))
    found = nn.functional.pad(best.indices[:, :k].int(), missing, value=-1)
    return found.cpu(), nn.functional.pad(best.values[:, :k], missing).cpu()


def most_alike(lists: Lists, n_cols: int, k: int, least: int = 1) -> tuple[Tensor, Tensor]:
    """For each column of a 0/1 matrix the k other columns with the highest Jaccard index |both| / |either|.

    Returns the columns (int32 [n_cols, k]) and the index (float32 [n_cols, k]), highest first, among equals the lower
    column first; −1 and 0 where no further column has an entry in common. Columns with fewer than `least` entries are
    left out on both sides.
    """
    dense = torch.zeros(len(lists.ptr) - 1, n_cols, device=lists.ptr.device)
    dense[lists.rows, lists.cols.long()] = 1
    sizes = dense.sum(0)
    alike = torch.full((n_cols, k), -1, dtype=torch.int32)
    jaccard = torch.zeros(n_cols, k)
    for start in range(0, n_cols, 1024):
        columns = torch.arange(start, min(start + 1024, n_cols))
        both = dense[:, columns].T @ dense
        index = both / (sizes[columns, None] + sizes - both).clamp(min=1)
        index[torch.arange(len(columns)), columns] = 0
        index[(sizes[columns, None] < least) | (sizes < least)] = 0
        found, values = largest(index, k)
        jaccard[columns], alike[columns] = values, torch.where(values > 0, found, -1)
    return alike, jaccard


def encode_by_feature(x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None = None) -> Lists:
    """The entries of pre = x · W_encᵀ + b_enc above `threshold` [d_sae] (None: 0), as lists by feature.

    x [n_tokens, d_in], W_enc [d_sae, d_in], b_enc [d_sae].
    """
    if threshold is None:
        return compress(torch.addmm(b_enc[:, None], W_enc, x.T))
    lists = compress(torch.addmm((b_enc - threshold)[:, None], W_enc, x.T))
    return lists._replace(values=lists.values + threshold[lists.rows])


def residual(by_feature: Lists, W_dec: Tensor, b_dec: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Residual:
    """r = f · W_dec + b_dec − x for x [n_tokens, d_in], with f as lists by feature.

    r is stored in `dtype` (None: that of x); mean and Σr² are taken before.
    """
    r = spmm(transpose(by_feature, len(x))[0], W_dec) + (b_dec - x)
    return Residual(r.to(dtype or x.dtype), r.mean(0), float(r.square().sum()))


def update(
    by_feature: Lists, x: Tensor, r: Tensor, features: Features, adam: AdamSettings, rule: Rule = NO_RULE
) -> None:
    """One optimiser step of all features with an active entry, from the gradients at the active entries.

    x and r [n_tokens, d_in]; f, `by_feature`, with the gradients that `rule` describes.
    """
    n = len(x)
    row, token = by_feature.rows, by_feature.cols.long()
    g = 2 / n * (r[token] * features.W_dec[row]).sum(1)
    if rule.slope is not None:
        rule.slope.copy_(g)
    g = g if rule.gain is None else rule.gain * g
    g = g + (adam.l1 / n if rule.extra is None else rule.extra)
    g_dec = sum_rows(by_feature, (2 / n * by_feature.values)[:, None] * r[token])
    g_enc = sum_rows(by_feature, g[:, None] * x[token])
    g_b = sum_rows(by_feature, g)
    step_rows(by_feature.ptr.diff() > 0, g_enc, g_dec, g_b, features, adam)


def row_gradients(
    products: Any, by_feature: Lists, x: Tensor, r: Tensor, W_dec: Tensor, l1: float, rule: Rule
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of all features at the active entries: W_enc and W_dec [d_sae, d_in], b_enc [d_sae].

    `products` has the functions spmm and sddmm; the other arguments are those of `update`.
    """
    x, r, n = x.to(W_dec.dtype), r.to(W_dec.dtype), len(x)
    slope = 2 / n * products.sddmm(by_feature, W_dec, r)
    if rule.slope is not None:
        rule.slope.copy_(slope)
    df = slope if rule.gain is None else rule.gain * slope
    df = df + (l1 / n if rule.extra is None else rule.extra)
    g_enc = products.spmm(by_feature._replace(values=df), x)
    g_dec = products.spmm(by_feature._replace(values=2 / n * by_feature.values), r)
    return g_enc, g_dec, sum_rows(by_feature, df)


def step_rows(
    active: Tensor, g_enc: Tensor, g_dec: Tensor, g_b: Tensor, features: Features, adam: AdamSettings
) -> None:
    """One optimiser step of the `active` features, bool [d_sae]; see sae/kinds/engine.py.

    Gradients of all features: g_enc and g_dec [d_sae, d_in], g_b [d_sae].
    """
    on = active.nonzero(as_tuple=True)[0]
    features.n_steps[on] += 1
    n_steps = features.n_steps[on].to(g_b.dtype)

    def move(g: Tensor, m: Tensor, v: Tensor) -> Tensor:
        square = g.square().mean(1)
        v[on] = adam.beta2 * v[on] + (1 - adam.beta2) * square
        root = torch.maximum(v[on] / (1 - adam.beta2**n_steps), square).sqrt() + adam.eps
        if adam.beta1:
            m[on] = adam.beta1 * m[on] + (1 - adam.beta1) * g
            g = m[on] / (1 - adam.beta1**n_steps)[:, None]
        return adam.lr / root[:, None] * g

    w, g = features.W_dec[on], g_dec[on]
    g = g - (g * w).sum(1, keepdim=True) * w
    w = w - move(g, features.m_dec, features.v_dec)
    features.W_dec[on] = w / w.norm(dim=1, keepdim=True)
    shrunk = (1 - adam.lr * adam.weight_decay) * features.W_enc[on]
    features.W_enc[on] = shrunk - move(g_enc[on], features.m_enc, features.v_enc)
    features.b_enc[on] -= move(g_b[on, None], features.m_b[:, None], features.v_b)[:, 0]


class BatchSums(NamedTuple):
    """Sums over the batch of one step, before the parameters moved."""

    squared: float  # Σ‖x̂ − x‖²
    activation: float  # Σ f
    counts: Tensor  # [d_sae] int64, active entries of each feature


def dense_step(
    x: Tensor, b_dec: Tensor, features: Features, adam: AdamSettings, dtype: torch.dtype, chunk: int = 4096
) -> tuple[Tensor, BatchSums]:
    """A whole ReLU step without lists: five dense products in `dtype`, `chunk` features at a time, then `step_rows`.

    Updates `features`. Returns the mean of r over tokens [d_in], from which b_dec's gradient follows, and the sums.
    """
    n, x_low = len(x), x.to(dtype)
    spans = [slice(i, i + chunk) for i in range(0, len(features.b_enc), chunk)]
    acts, counts, activation = [], [], 0.0
    r = b_dec - x
    for span in spans:
        f = torch.relu(x_low @ features.W_enc[span].to(dtype).T + features.b_enc[span].to(dtype))
        acts.append(f)
        counts.append((f > 0).sum(0))
        activation += float(f.sum(dtype=x.dtype))
        r += f @ features.W_dec[span].to(dtype)
    r_low = r.to(dtype)
    for span, f, count in zip(spans, acts, counts, strict=True):
        part = Features(*(tensor[span] for tensor in features))
        g = r_low @ part.W_dec.to(dtype).T
        g = g.mul_(2 / n).add_(adam.l1 / n).mul_(f > 0)
        g_enc, g_dec = g.T @ x_low, (f.T @ r_low).mul_(2 / n)
        g_b = g.sum(0, dtype=x.dtype)
        step_rows(count > 0, g_enc.to(x.dtype), g_dec.to(x.dtype), g_b, part, adam)
    return r.mean(0), BatchSums(float(r.square().sum()), activation, torch.cat(counts))
