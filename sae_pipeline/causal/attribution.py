"""Which features cause a prediction: estimates for all of them by gradients, true ablations for the strongest.

Effects are on centred logits, c = logit − mean of logits, because adding a constant to all logits changes nothing. The
effect of a feature on a class is what the class owes to the feature: before − after ablating it.

    gradient × activation   f_i · ∂c/∂f_i
    integrated gradients    f_i · ∫ ∂c/∂f_i dα  along x(α) = x − (1−α)·scale·Σ f_i·W_dec[i]
    true effect             c(x) − c(x without feature i)

Integrated effects add up to c(x) − c(x without any feature); the SAE's reconstruction error stays along the path.
(Sundararajan et al. 2017, "Axiomatic attribution for deep networks"; Marks et al. 2024, "Sparse feature circuits".)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.arrays import Floats, Ints, ragged
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import centred, softmax
from sae_pipeline.headlines.tokens import length_batches
from sae_pipeline.machine.device import wants
from sae_pipeline.machine.memory import for_each_batch
from sae_pipeline.sae.firings import Firings

Order = Literal["attribution", "activation", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True)
class Attribution:
    """The effects of every active entry of a reading on every class, in logits."""

    gradient: NDArray[np.float32]  # [n_entries, n_classes] gradient × activation
    integrated: NDArray[np.float32]  # [n_entries, n_classes] integrated gradients; `gradient` itself for 0 steps
    base: Floats  # [n_headlines, n_classes] centred logits without any feature, where the path starts; NaN for 0 steps
    logits: Floats  # [n_headlines, n_classes] of the headlines as they are

    def by_feature(self, firings: Firings, estimate: Literal["gradient", "integrated"] = "integrated") -> Floats:
        """Effects summed over the tokens of a headline, [n_groups, n_classes], in the firings' order of groups."""
        entries: Floats = getattr(self, estimate).astype(np.float64)
        if not len(entries):
            return entries
        return np.add.reduceat(entries, firings.group_start)


def clamp_effects(attribution: Attribution, firings: Firings, level: float) -> Floats:
    """Estimate what setting each feature to `level` where it fires takes from each class, [n_groups, n_classes].

    The estimate is (f − level)·∂c/∂f summed over tokens; level 0 is gradient × activation.
    """
    if not len(attribution.gradient):
        return attribution.gradient.astype(np.float64)
    beyond = 1 - level / firings.value
    effects: Floats = np.add.reduceat(attribution.gradient * beyond[:, None].astype(np.float64), firings.group_start)
    return effects


def attribute(probe: Probe, reading: Reading, steps: int = 8) -> Attribution:
    """Estimate the effects of all features on all classes in all headlines of a reading.

    The path has `steps` Gauss-Legendre nodes; 0 leaves integrated gradients out. A batch costs, per node, one forward
    pass of the tail and n_classes − 1 backward passes, because the gradients of centred logits add up to zero.
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

    def run(rows: Ints) -> None:
        hidden, input_ids, mask = reading.padded(rows)
        counts = np.diff(first)[rows]
        entry = ragged(first[rows], counts)
        at = np.repeat(np.arange(len(rows)), counts)
        f = torch.from_numpy(firings.value[entry]).to(device).requires_grad_()
        with torch.enable_grad():
            code = probe.shift(reading, rows, hidden.shape[1], at, entry, f)
        removed = code.detach()
        points = [hidden, *(hidden - (1 - node) * removed for node in nodes.tolist())]
        slopes = _slopes(probe, points, input_ids, mask)
        logits[rows], at_x = next(slopes)
        gradient[entry] = _effects(code, f, at_x)
        if steps:
            along: Any = sum(weight * slope for weight, (_, slope) in zip(weights.tolist(), slopes, strict=True))
            integrated[entry] = _effects(code, f, along)
            with torch.no_grad():
                base[rows] = centred(probe.tail(hidden - removed, input_ids, mask).cpu().double().numpy())

    batches = length_batches(reading.lengths.tolist(), probe.budget, probe.tail.equal_lengths)
    for_each_batch("attribution", batches, run)
    return Attribution(gradient, integrated, base, logits)


def _slopes(probe: Probe, points: Sequence[Tensor], input_ids: Tensor, mask: Tensor) -> Iterator[tuple[Floats, Tensor]]:
    """Yield, at each x of `points`, the logits and ∂c/∂x for all classes but the last.

    Logits are [n_headlines, n_classes], slopes [n_classes − 1, n_headlines, n_positions, d_in].
    """
    n_classes = probe.model.config.num_labels
    if n_classes * len(points) * mask.numel() <= wants(probe.device).copies:
        yield from _slopes_at_once(probe, torch.stack(list(points)), input_ids, mask, n_classes - 1)
        return
    together = max(1, probe.budget // mask.numel()) if wants(probe.device).queues else 1  # points of one pass
    for start in range(0, len(points), together):
        some = points[start : start + together]
        with torch.enable_grad():
            x = torch.cat(list(some)).detach().requires_grad_()
            logits = probe.tail(x, *(given.repeat(len(some), 1) for given in (input_ids, mask)))
            totals = (logits - logits.mean(-1, keepdim=True)).sum(0)  # rows do not mix: one sum serves all headlines
            last = n_classes - 2
            grads = [torch.autograd.grad(totals[c], x, retain_graph=c < last)[0] for c in range(last + 1)]
        slopes = torch.stack(grads).unflatten(1, (len(some), -1))
        values = logits.detach().cpu().double().unflatten(0, (len(some), -1)).numpy()
        yield from zip(values, slopes.unbind(1), strict=True)


def _slopes_at_once(
    probe: Probe, x: Tensor, input_ids: Tensor, mask: Tensor, n_slopes: int
) -> Iterator[tuple[Floats, Tensor]]:
    """Like `_slopes`, for all points x [n_points, n_headlines, n_positions, d_in] in one forward and backward pass.

    With few tokens most time goes into reading the weights, so a copy of x per class costs less than a backward pass
    per class.
    """
    with torch.enable_grad():
        copies = x.expand(n_slopes, *x.shape).clone().requires_grad_()
        inputs = (given.expand(*copies.shape[:2], *mask.shape).flatten(0, 2) for given in (input_ids, mask))
        logits = probe.tail(copies.flatten(0, 2), *inputs)
        logits = logits.unflatten(0, copies.shape[:3])
        effects = logits - logits.mean(-1, keepdim=True)
        total = torch.stack([effects[c, ..., c].sum() for c in range(n_slopes)]).sum()
        slopes = torch.autograd.grad(total, copies)[0]
    values = logits[0].detach().cpu().double().numpy()
    yield from zip(values, slopes.unbind(1), strict=True)


def _effects(code: Tensor, f: Tensor, slopes: Tensor) -> NDArray[np.float32]:
    """f · ∂c/∂f, [n_entries, n_classes], through code = scale · Σ f·W_dec from the slopes at x."""
    columns = [torch.autograd.grad(code, f, slope, retain_graph=True)[0] for slope in slopes]
    return (torch.stack([*columns, -torch.stack(columns).sum(0)], 1) * f.detach()[:, None]).cpu().numpy()


@dataclass(frozen=True)
class Ablations:
    """The true effects of single features: before − after ablating the feature in its headline."""

    group: Ints  # [n] groups of the reading's firings
    logits: Floats  # [n, n_classes] on centred logits
    probabilities: Floats  # [n, n_classes] on probabilities


def ablate(probe: Probe, reading: Reading, groups: Ints) -> Ablations:
    """Ablate each group (a feature in a headline) by itself."""
    headline = reading.firings.group_headline[groups]
    after = probe.logits(reading, Variants.of_groups(reading.firings, headline, list(groups[:, None])))
    before = reading.logits[headline]
    return Ablations(groups, centred(before) - centred(after), softmax(before) - softmax(after))


def ranked_groups(
    reading: Reading, order: Order, effects: Floats | None = None, seed: int = 0, signed: bool = False
) -> list[Ints]:
    """Rank the groups of each headline, the first one first.

    "attribution" ranks by the size of the effect on the predicted class (`effects` [n_groups, n_classes]), or with
    `signed` by the effect itself, so that support for the prediction comes first. "activation" ranks by the maximum
    over the headline. "random" shuffles.
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
