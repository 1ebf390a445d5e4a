"""Which features cause a prediction: estimated for all of them by gradients, verified for the top ones by ablation.

Everything is about centred logits, c = logit − mean of logits: a shift of all logits changes nothing. The effect of a
feature on a class is what the class owes to it, so ablating the feature takes that much away:

    gradient × activation   f_i · ∂c/∂f_i
    integrated gradients    f_i · ∫ ∂c/∂f_i dα  along x(α) = x − (1−α)·scale·Σ f_i·W_dec[i]   (the SAE's error stays)
    true effect             c(x) − c(x without feature i)

Integrated effects add up to c(x) − c(x without any feature). (Sundararajan et al. 2017, "Axiomatic attribution for
deep networks"; Marks et al. 2024, "Sparse feature circuits", for the path through the error.)
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .firings import Firings, ragged
from .interventions import Floats, Ints, Probe, Reading, Variants
from .tokens import length_batches

Order = Literal["attribution", "activation", "random"]

_FEW_TOKENS = 1024


def centred(logits: Floats) -> Floats:
    """Logits [..., n_classes] less their mean over the classes."""
    less: Floats = logits - logits.mean(-1, keepdims=True)
    return less


def softmax(logits: Floats) -> Floats:
    """Probabilities [..., n_classes]."""
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def divergence(p: Floats, q: Floats) -> Floats:
    """KL(p ‖ q) [n] in nats, of probabilities [n, n_classes]."""
    return np.maximum(0.0, (p * np.log(np.maximum(p, 1e-30) / np.maximum(q, 1e-30))).sum(1))  # type: ignore[no-any-return]


# --- estimates -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """Effects of every active entry of a reading on every class, in units of the logits."""

    gradient: NDArray[np.float32]  # [n_entries, n_classes] gradient × activation
    integrated: NDArray[np.float32]  # [n_entries, n_classes] integrated gradients; equal to `gradient` for 0 steps
    base: Floats  # [n_headlines, n_classes] centred logits without any feature: the path's start; NaN for 0 steps
    logits: Floats  # [n_headlines, n_classes] at x

    def by_feature(self, firings: Firings, estimate: Literal["gradient", "integrated"] = "integrated") -> Floats:
        """Summed over the tokens of a headline: [n_groups, n_classes], in the firings' order of groups."""
        entries: Floats = getattr(self, estimate).astype(np.float64)
        if not len(entries):
            return entries
        return np.add.reduceat(entries, firings.group_start)


def clamp_effects(attribution: Attribution, firings: Firings, level: float) -> Floats:
    """What each class owes to a feature beyond `level` where it fires, by gradients [n_groups, n_classes].

    (f − level)·∂c/∂f, summed over tokens; level 0 is gradient × activation.
    """
    if not len(attribution.gradient):
        return attribution.gradient.astype(np.float64)
    beyond = 1 - level / firings.value
    effects: Floats = np.add.reduceat(attribution.gradient * beyond[:, None].astype(np.float64), firings.group_start)
    return effects


def attribute(probe: Probe, reading: Reading, steps: int = 8) -> Attribution:
    """Both estimates for all features, classes and headlines of a reading.

    `steps` Gauss-Legendre nodes lie on the path; 0 leaves integrated gradients out. One forward pass of the tail and
    n_classes − 1 backward passes for a whole batch and node: the centred logits' gradients add up to zero.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps) if steps else (np.zeros(0), np.zeros(0))
    nodes, weights = (nodes + 1) / 2, weights / 2
    firings, device = reading.firings, reading.hidden.device
    n_classes = probe.model.config.num_labels
    gradient = np.zeros((len(firings.feature), n_classes), np.float32)
    integrated = gradient.copy() if steps else gradient
    logits = np.zeros((len(reading.tokenized), n_classes))
    base = np.full_like(logits, np.nan)
    first = reading.entry_starts
    for rows in length_batches(reading.lengths.tolist(), probe.tokens_in_cache):
        hidden, mask = reading.padded(rows)
        counts = np.diff(first)[rows]
        entry = ragged(first[rows], counts)
        site = np.repeat(np.arange(len(rows)), counts) * hidden.shape[1] + firings.position[entry]
        f = torch.from_numpy(firings.value[entry]).to(device).requires_grad_()
        with torch.enable_grad():
            code = probe.shift(
                hidden.shape[:2],
                torch.from_numpy(site).to(device),
                torch.from_numpy(firings.feature[entry]).to(device),
                f,
            )
        removed = code.detach()
        points = [hidden, *(hidden - (1 - node) * removed for node in nodes.tolist())]
        slopes = _slopes(probe, points, mask)
        logits[rows], at_x = next(slopes)
        gradient[entry] = _effects(code, f, at_x)
        if steps:
            along: Any = sum(weight * slope for weight, (_, slope) in zip(weights.tolist(), slopes, strict=True))
            integrated[entry] = _effects(code, f, along)
            with torch.no_grad():
                base[rows] = centred(probe.tail(hidden - removed, mask).double().cpu().numpy())
    return Attribution(gradient, integrated, base, logits)


def _slopes(probe: Probe, points: Sequence[Tensor], mask: Tensor) -> Iterator[tuple[Floats, Tensor]]:
    """At each x: the logits [n_headlines, n_classes], and ∂c/∂x for all classes but the last
    [n_classes − 1, n_headlines, n_positions, d_in]."""
    n_classes = probe.model.config.num_labels
    if n_classes * len(points) * mask.numel() <= _FEW_TOKENS:
        yield from _slopes_at_once(probe, torch.stack(list(points)), mask, n_classes - 1)
        return
    for point in points:
        with torch.enable_grad():
            x = point.detach().requires_grad_()
            logits = probe.tail(x, mask)
            totals = (logits - logits.mean(-1, keepdim=True)).sum(0)  # rows do not mix: one sum serves all headlines
            last = n_classes - 2
            grads = [torch.autograd.grad(totals[c], x, retain_graph=c < last)[0] for c in range(last + 1)]
        yield logits.detach().double().cpu().numpy(), torch.stack(grads)


def _slopes_at_once(probe: Probe, x: Tensor, mask: Tensor, n_slopes: int) -> Iterator[tuple[Floats, Tensor]]:
    """The same for all points x [n_points, n_headlines, n_positions, d_in] in one pass there and back.

    With few tokens the time goes into reading the weights, so a copy of x for every class costs less than a backward
    pass for every class.
    """
    with torch.enable_grad():
        copies = x.expand(n_slopes, *x.shape).clone().requires_grad_()
        flat = copies.flatten(0, 2)
        logits = probe.tail(flat, mask.expand(*copies.shape[:2], *mask.shape).flatten(0, 2))
        logits = logits.unflatten(0, copies.shape[:3])
        effects = logits - logits.mean(-1, keepdim=True)
        total = torch.stack([effects[c, ..., c].sum() for c in range(n_slopes)]).sum()
        slopes = torch.autograd.grad(total, copies)[0]
    values = logits[0].detach().double().cpu().numpy()
    yield from zip(values, slopes.unbind(1), strict=True)


def _effects(code: Tensor, f: Tensor, slopes: Tensor) -> NDArray[np.float32]:
    """f · ∂c/∂f [n_entries, n_classes] through code = scale · Σ f·W_dec, from the slopes at x."""
    columns = [torch.autograd.grad(code, f, slope, retain_graph=True)[0] for slope in slopes]
    return (torch.stack([*columns, -torch.stack(columns).sum(0)], 1) * f.detach()[:, None]).cpu().numpy()


# --- the truth -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ablations:
    """True effects of single features: before − after ablating the feature in its headline."""

    group: Ints  # [n] groups of the reading's firings
    logits: Floats  # [n, n_classes] on centred logits
    probabilities: Floats  # [n, n_classes] on probabilities


def ablate(probe: Probe, reading: Reading, groups: Ints) -> Ablations:
    """Ablate each group (a feature in a headline) by itself; all of them in batches, from the hookpoint on."""
    headline = reading.firings.group_headline[groups]
    after = probe.logits(reading, Variants.of_groups(reading.firings, headline, list(groups[:, None])))
    before = reading.logits[headline]
    return Ablations(groups, centred(before) - centred(after), softmax(before) - softmax(after))


def ranked_groups(
    reading: Reading, order: Order, effects: Floats | None = None, seed: int = 0, signed: bool = False
) -> list[Ints]:
    """For each headline its groups, first one first.

    "attribution": by the size of the effect on the predicted class (`effects` [n_groups, n_classes]), or, `signed`,
    by the effect itself, so that what speaks for the prediction comes first. "activation": by the maximum over the
    headline. "random": shuffled.
    """
    firings = reading.firings
    if order == "attribution":
        assert effects is not None
        predicted = reading.logits.argmax(1)[firings.group_headline]
        key = effects[np.arange(len(effects)), predicted]
        key = key if signed else np.abs(key)
    elif order == "activation":
        key = firings.group_max
    else:
        key = np.random.default_rng(seed).random(len(firings.group_start))
    ranked = np.lexsort((-key, firings.group_headline))
    return np.split(ranked, reading.group_starts[1:-1])


# --- flips and repairs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flip:
    """A small set of features whose ablation changes a prediction."""

    groups: list[int]  # in the order of ablation
    prediction: int  # afterwards
    path: Floats  # [n_groups + 1, n_classes] probabilities before, after the first, the first two, …
    logits: Floats  # [n_groups + 1, n_classes] likewise


def flip(
    probe: Probe,
    reading: Reading,
    effects: Floats,
    headlines: Sequence[int],
    targets: Sequence[int | None],
    candidates: int = 32,
    max_size: int = 20,
    level: float = 0.0,
    patience: float = math.inf,
) -> list[Flip | None]:
    """For each of `headlines` the smallest set found whose ablation makes the prediction `target`, or any other.

    Greedy: in each round every one of the `candidates` most promising features by `effects` [n_groups, n_classes] is
    really ablated on top of the chosen ones, and the one that moves the margin most is kept; from six chosen ones on
    two at a time, from nine on three, and so on. Members that turn out not to be needed are dropped again. None where
    `max_size` features do not suffice, or neither one candidate nor all of them together, or where `patience` seconds
    have passed. With a `level` the features are set to it where they fire, and `effects` are those of `clamp_effects`.
    """
    search = _Search(probe, reading, headlines, targets, level)
    deadline = time.monotonic() + patience
    pools = [_candidates(reading, effects, h, t, candidates) for h, t in zip(headlines, targets, strict=True)]
    chosen: list[list[int]] = [[] for _ in headlines]
    done: dict[int, list[int]] = {}
    open_ = {n for n, pool in enumerate(pools) if pool}
    everything = [(n, pools[n]) for n in sorted(open_)]
    reach: Any = search.margins(everything) if everything else []
    within_reach = {n for (n, _), margin in zip(everything, reach, strict=True) if margin > 0}
    while open_ and time.monotonic() < deadline:
        trials = [(n, [*chosen[n], g]) for n in sorted(open_) for g in pools[n]]
        margins = search.margins(trials)
        owner = np.array([n for n, _ in trials])
        for n in sorted(open_):
            own = np.flatnonzero(owner == n)
            ranked = own[np.argsort(-margins[own], kind="stable")]
            if margins[ranked[0]] > 0:
                done[n] = trials[ranked[0]][1]
            grow = min(max(1, len(chosen[n]) // 3), max_size - len(chosen[n]))
            joining = [trials[i][1][-1] for i in ranked[:grow]]
            chosen[n] = chosen[n] + joining
            pools[n] = [g for g in pools[n] if g not in joining]
        open_ = {n for n in open_ & within_reach if n not in done and pools[n] and len(chosen[n]) < max_size}
    last = [(n, groups) for n, groups in enumerate(chosen) if n not in done and len(groups) > 1]
    if last:  # several may have joined in the last round
        margins = search.margins(last)
        done |= {n: groups for (n, groups), margin in zip(last, margins.tolist(), strict=True) if margin > 0}
    search.prune(done)
    return search.flips(done)


def _candidates(reading: Reading, effects: Floats, headline: int, target: int | None, n: int) -> list[int]:
    """The groups that hold the present prediction up most, against the target or the runner-up."""
    *_, second, first = np.argsort(reading.logits[headline])
    start, end = reading.group_starts[headline : headline + 2]
    rival = second if target is None or target == first else target
    key = effects[start:end, first] - effects[start:end, rival]
    order = np.argsort(-key, kind="stable")[:n]
    return [int(start + i) for i in order if key[i] > 0]


@dataclass(frozen=True)
class _Search:
    """Trials of a search for flips: (index into `headlines`, groups set to `level`)."""

    probe: Probe
    reading: Reading
    headlines: Sequence[int]
    targets: Sequence[int | None]
    level: float

    def logits(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """[n_trials, n_classes]."""
        rows, groups = [self.headlines[n] for n, _ in trials], [groups for _, groups in trials]
        return self.probe.logits(self.reading, Variants.of_groups(self.reading.firings, rows, groups, self.level))

    def margins(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """How far each trial is beyond the goal, in logits; > 0: reached."""
        logits = self.logits(trials)
        wanted = np.array([-1 if self.targets[n] is None else self.targets[n] for n, _ in trials], np.int64)
        away = wanted < 0
        wanted[away] = self.reading.logits[[self.headlines[n] for n, _ in trials]].argmax(1)[away]
        index = np.arange(len(trials))
        own = logits[index, wanted]
        logits[index, wanted] = -np.inf
        others = logits.max(1)
        margin: Floats = np.where(away, others - own, own - others)
        return margin

    def prune(self, done: dict[int, list[int]]) -> None:
        """Drop members without which the goal is still reached, one at a time, the one least missed first."""
        open_ = {n for n, groups in done.items() if len(groups) > 1}
        while open_:
            trials = [(n, [g for g in done[n] if g != left_out]) for n in sorted(open_) for left_out in done[n]]
            best: dict[int, tuple[float, list[int]]] = {}
            for (n, groups), margin in zip(trials, self.margins(trials).tolist(), strict=True):
                if margin > best.get(n, (0.0, []))[0]:
                    best[n] = (margin, groups)
            for n, (_, groups) in best.items():
                done[n] = groups
            open_ = {n for n in best if len(done[n]) > 1}

    def flips(self, done: dict[int, list[int]]) -> list[Flip | None]:
        """The sets found, with the probabilities after each member."""
        steps = [(n, groups[:k]) for n, groups in done.items() for k in range(len(groups) + 1)]
        found: list[Flip | None] = [None] * len(self.headlines)
        if not steps:
            return found
        logits = self.logits(steps)
        owner = np.array([n for n, _ in steps])
        for n, groups in done.items():
            own = logits[owner == n]
            found[n] = Flip(groups, int(own[-1].argmax()), softmax(own), own)
        return found


# --- faithfulness --------------------------------------------------------------------------------------


def cross_entropy(logits: Floats, labels: NDArray[Any]) -> Floats:
    """−ln p of the true class, [n]."""
    p: Floats = softmax(logits)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(p, 1e-30))


@torch.no_grad()
def spliced(probe: Probe, reading: Reading, seed: int = 0) -> dict[str, Floats]:
    """Logits [n_headlines, n_classes] with the covered activations replaced.

    By the reconstruction ("sae"), nothing ("zero"), the mean of the SAE's training tokens ("mean"), and covered
    tokens drawn from anywhere in the reading ("resample").
    """
    x = reading.hidden[probe.covered(reading)]
    draw = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    rebuilt = torch.cat([probe.sae(chunk) for chunk in x.split(512)])
    replacements = {"sae": rebuilt, "zero": x * 0, "mean": probe.sae.mean.expand_as(x), "resample": x[draw]}
    return {name: probe.replaced_logits(reading, replacement) for name, replacement in replacements.items()}


def curve(
    probe: Probe, reading: Reading, headlines: Sequence[int], ranked: Sequence[Ints], sizes: Sequence[int], keep: bool
) -> Floats:
    """Logits [n_sizes, n_headlines, n_classes] with the first n `ranked` groups ablated, or only they kept."""
    n_headlines = len(headlines)
    groups = [g[n:] if keep else g[:n] for n in sizes for g in ranked]
    variants = Variants.of_groups(reading.firings, np.tile(np.asarray(headlines), len(sizes)), groups)
    return probe.logits(reading, variants).reshape(len(sizes), n_headlines, -1)
