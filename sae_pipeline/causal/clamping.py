"""Clamping: small sets of features which, set to what is typical of another class, change a prediction.

    level_i       what is typical of the class: the mean of f_i over the tokens on which it fires, averaged over the
                  headlines predicted as the class in which it fires; 0 where it fires in few of them
    estimate      Σ (level_i − f_i)·∂(c_class − c_predicted)/∂f_i  over the tokens at which i is set

A feature that fires in the headline is set where it fires. A silent one is set at the one token where the gradient says
that it helps most.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sae_pipeline.arrays import Flags, Floats, Ints, ragged
from sae_pipeline.causal.flips import Flip, smallest_sets
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.machine.memory import for_each_batch
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.cause_dicts import ClampPathDict
from sae_pipeline.schema.common import MIN_HEADLINES, PER_HEADLINE

_COMMON = 0.1  # share of a class's headlines in which a feature must fire to be typical of it
_CANDIDATES = 16  # features that are tried per round
_TOGETHER = 64  # headlines in memory at a time


def typical_activations(groups: tuple[Ints, Ints, Floats], of_class: Flags, d_sae: int) -> Floats | None:
    """The levels [d_sae] that are typical of a class; None where too few headlines are predicted as it.

    `groups` are headline, feature and mean activation [n_groups] of every feature in every headline it fires on.
    `of_class` [n_headlines] marks the headlines that are predicted as the class.
    """
    n = int(of_class.sum())
    if n < MIN_HEADLINES:
        return None
    headline, feature, activation = groups
    inside = of_class[headline]
    count = np.bincount(feature[inside], minlength=d_sae)
    total = np.bincount(feature[inside], weights=activation[inside], minlength=d_sae)
    levels: Floats = np.where(count >= max(MIN_HEADLINES, _COMMON * n), total / np.maximum(count, 1), 0)
    return levels


def clamp(
    probe: Probe, tokenized: Sequence[TokenizedHeadline], rival: int, typical: Floats, max_size: int
) -> list[ClampPathDict | None]:
    """Find, for each headline, a small set of features whose clamping to `typical` [d_sae] leads to the class `rival`.

    The result is None where none was found.
    """
    found: list[ClampPathDict | None] = []
    for first in range(0, len(tokenized), _TOGETHER):
        found += _clamp(probe, tokenized[first : first + _TOGETHER], rival, typical, max_size)
    return found


def _clamp(
    probe: Probe, tokenized: Sequence[TokenizedHeadline], rival: int, typical: Floats, max_size: int
) -> list[ClampPathDict | None]:
    reading = probe.read(tokenized)
    moves = _moves(probe, reading, rival, typical)
    firings = Firings.chain([reading.firings, moves.silent])
    rows, levels = range(len(tokenized)), typical[firings.group_feature]
    ranked = np.lexsort((-moves.gain, firings.group_headline))
    ranked = ranked[moves.gain[ranked] > 0]
    found = smallest_sets(
        probe,
        replace(reading, firings=firings),
        [ranked[firings.group_headline[ranked] == row].tolist() for row in rows],
        rows,
        [rival] * len(rows),
        candidates=_CANDIDATES,
        max_size=max_size,
        level=levels,
    )
    whole = probe.sae.config.positions in PER_HEADLINE

    def positions(group: int) -> list[int]:
        start = firings.group_start[group]
        return [] if whole else firings.position[start : start + firings.group_length[group]].tolist()

    def record(one: Flip) -> ClampPathDict:
        return {
            "features": firings.group_feature[one.groups],
            "prediction": one.prediction,
            "path": one.path.tolist(),
            "levels": levels[one.groups],
            "positions": [positions(group) for group in one.groups],
        }

    return [record(one) if one else None for one in found]


@dataclass(frozen=True)
class _Moves:
    """How much setting each feature to its typical level is estimated to help the rival, in logits."""

    silent: Firings  # the silent features that help most: one entry of activation 0 each
    gain: Floats  # [n_groups] of the reading's groups, then of the silent ones


def _moves(probe: Probe, reading: Reading, rival: int, typical: Floats) -> _Moves:
    sites = reading.sites(probe.sae.config.positions)
    slopes, fires = sites.gradient(_slopes(probe, reading, rival)), reading.firings
    headline, position = sites.headline.cpu().numpy(), sites.position.cpu().numpy()
    firing_gain = np.zeros(len(fires.group_start))
    none = np.zeros(0, np.int64)
    silent: list[tuple[Ints, Ints, Ints, Floats]] = [(none, none, none, np.zeros(0))]  # see `collect`; the gains
    for row in np.unique(headline).tolist():
        at = np.flatnonzero(headline == row)
        first, last = reading.entry_starts[row : row + 2]
        ids = np.union1d(np.flatnonzero(typical), fires.feature[first:last])
        decoder = probe.sae.scale * probe.sae.W_dec[torch.from_numpy(ids).to(slopes.device)]
        slope = (slopes[at[0] : at[-1] + 1] @ decoder.T).cpu().double().numpy()  # [n_sites, n_ids]
        f = np.zeros(slope.shape)
        place = np.searchsorted(position[at], fires.position[first:last])
        f[place, np.searchsorted(ids, fires.feature[first:last])] = fires.value[first:last]
        is_silent, level = f.max(0) == 0, typical[ids]
        gain = np.where(is_silent, level * slope.max(0), ((level - f) * slope * (f > 0)).sum(0))
        start, stop = reading.group_starts[row : row + 2]
        firing_gain[start:stop] = gain[~is_silent]
        helping = np.argsort(np.where(is_silent, -gain, 0), kind="stable")[:_CANDIDATES]
        helping = np.sort(helping[is_silent[helping] & (gain[helping] > 0)])
        silent.append((np.full(len(helping), row), position[at][slope.argmax(0)[helping]], ids[helping], gain[helping]))
    rows, places, features, gains = (np.concatenate(column) for column in zip(*silent, strict=True))
    return _Moves(
        Firings.collect(rows, places, features, np.zeros(len(rows), np.float32)), np.concatenate([firing_gain, gains])
    )


def _slopes(probe: Probe, reading: Reading, rival: int) -> Tensor:
    """∂(c_rival − c_predicted)/∂x at every token of a reading, [n_tokens, d_in]."""
    slopes = torch.empty_like(reading.hidden)
    predicted = torch.from_numpy(reading.logits.argmax(1)).to(probe.device)

    def run(rows: Ints) -> None:
        x, input_ids, mask = reading.padded(rows)
        with torch.enable_grad():
            logits = probe.tail(x.requires_grad_(), input_ids, mask)
            own = logits.gather(1, predicted[torch.from_numpy(rows).to(probe.device)][:, None])[:, 0]
            total = (logits[:, rival] - own).sum()
        tokens = torch.from_numpy(ragged(reading.starts[rows], reading.lengths[rows])).to(probe.device)
        slopes[tokens] = torch.autograd.grad(total, x)[0][mask.bool()]

    batches = length_batches(reading.lengths.tolist(), probe.budget, probe.tail.equal_lengths)
    for_each_batch("clamping", batches, run)
    return slopes
