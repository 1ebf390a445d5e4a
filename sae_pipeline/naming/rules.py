"""The choice of a rule: the union of a few predicates that best predicts where a unit fires, for its length.

Candidates are the predicates with the highest weighted log-odds of standing in a headline where the unit fires, with
the background as an informative prior (Monroe, Colaresi and Quinn 2008). Of them, the rule is the union with the
highest gain in bits (minimum description length):

    gain = n · I(rule; fires) − Σ cost(predicate)

n is the number of choosing headlines, and I is the mutual information. A predicate costs log₂ of the number of kinds
plus log₂ of the number of predicates of its kind. A rule with a gain of 0 or less is left out.

The predicted class says what the classifier makes of a headline, not what the headline says. So it is never joined with
other predicates, and it becomes the rule only if its gain is more than twice as high as theirs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sae_pipeline.arrays import Floats, Ints, rank_in_run
from sae_pipeline.naming.bits import Bits, count
from sae_pipeline.naming.predicates import PredicateTable
from sae_pipeline.schema.names import MAX_PREDICATES

N_CANDIDATES = 24
MIN_TOGETHER = 2  # choosing headlines in which a candidate holds and the unit fires
_CLASS_GAIN = 2.0  # times that of other predicates, from which the predicted class makes the rule
_PRIOR = 0.1  # weight of the background, in headlines per choosing headline
_BLOCK = 1 << 20  # words of bits that are worked on at a time


class Rules(NamedTuple):
    """A rule per unit: up to `MAX_PREDICATES` predicates, −1 where there are fewer, and its gain in bits."""

    predicates: NDArray[np.int64]  # [n_units, MAX_PREDICATES]
    gain: Floats  # [n_units] 0 where no rule pays for itself


def choose_rules(table: PredicateTable, fires: sparse.csr_matrix, fires_bits: Bits) -> Rules:
    """Choose a rule for each unit. `fires` [n_units, n_choosing] is 1 where it fires, `fires_bits` the same as bits."""
    n_units, width = fires_bits.shape
    rules = Rules(np.full((n_units, MAX_PREDICATES), -1), np.zeros(n_units))
    size = max(1, _BLOCK // (N_CANDIDATES * max(width, 1)))
    held = np.asarray(table.choosing.sum(0)).ravel()
    for start in range(0, n_units, size):
        block = slice(start, start + size)
        candidates = _candidates(table.choosing, held, fires[block])
        classes = (candidates >= 0) & table.is_class[candidates]
        chosen, gain = _unions(table, np.where(classes, -1, candidates), fires_bits[block], table.choosing.shape[0])
        by_class, class_gain = _unions(
            table, np.where(classes, candidates, -1), fires_bits[block], table.choosing.shape[0]
        )
        better = class_gain > _CLASS_GAIN * gain
        rules.predicates[block] = np.where(better[:, None], by_class, chosen)
        rules.gain[block] = np.where(better, class_gain, gain)
    return rules


def _candidates(holds: sparse.csr_matrix, held: Ints, fires: sparse.csr_matrix) -> Ints:
    """The candidates of each unit by falling log-odds, [n_units, N_CANDIDATES]; −1 where there are fewer."""
    n = holds.shape[0]
    together = (fires @ holds).tocsr()
    unit = np.repeat(np.arange(fires.shape[0]), np.diff(together.indptr))
    both, predicate = together.data.astype(np.float64), together.indices
    fired = np.asarray(fires.sum(1)).ravel()[unit].astype(np.float64)
    holding = held[predicate].astype(np.float64)
    kept = (both >= MIN_TOGETHER) & (both * n > fired * holding)
    unit, predicate, both, fired, holding = (x[kept] for x in (unit, predicate, both, fired, holding))
    odds = log_odds(both, fired, holding, n)
    order = np.lexsort((predicate, -odds, unit))
    rank = rank_in_run(unit[order])
    order, rank = order[rank < N_CANDIDATES], rank[rank < N_CANDIDATES]
    result = np.full((fires.shape[0], N_CANDIDATES), -1)
    result[unit[order], rank] = predicate[order]
    return result


def log_odds(both: Floats, fired: Floats, holding: Floats, n: int) -> Floats:
    """The weighted log-odds z of a predicate: how much likelier it holds where the unit fires than elsewhere.

    It holds in `holding` of n headlines, the unit fires in `fired`, and both in `both`. z is the difference of the log
    odds, with `_PRIOR` · n headlines of the background added to either side, by its standard deviation.
    """
    prior = _PRIOR * holding
    rest = _PRIOR * n - prior
    elsewhere = holding - both
    inside = np.log((both + prior) / (fired - both + rest))
    outside = np.log((elsewhere + prior) / (n - fired - elsewhere + rest))
    return np.asarray((inside - outside) / np.sqrt(1 / (both + prior) + 1 / (elsewhere + prior)))


def _unions(table: PredicateTable, candidates: Ints, fires: Bits, n: int) -> tuple[Ints, Floats]:
    """Grow the best rule of each unit predicate by predicate, as long as its gain grows."""
    n_units = len(candidates)
    rows = np.arange(n_units)
    fired = count(fires)
    bits = table.choosing_bits[candidates]  # [n_units, N_CANDIDATES, …]; of −1 some row, whose gain is set to −∞
    price = np.where(candidates >= 0, table.cost[candidates], np.inf)
    chosen, rule = np.full((n_units, MAX_PREDICATES), -1), np.zeros_like(fires)
    best, paid = np.zeros(n_units), np.zeros(n_units)
    growing = np.ones(n_units, bool)
    for step in range(MAX_PREDICATES):
        union = bits | rule[:, None]
        together = count(union & fires[:, None])
        gain = information(together, count(union), fired[:, None], n) - paid[:, None] - price
        pick = gain.argmax(1)
        growing &= gain[rows, pick] > best
        if not growing.any():
            break
        grown = rows[growing]
        chosen[grown, step] = candidates[grown, pick[grown]]
        rule[grown] = union[grown, pick[grown]]
        best[grown] = gain[grown, pick[grown]]
        paid[grown] += price[grown, pick[grown]]
    return chosen, best


def information(both: Ints, holding: Ints, fired: Ints, n: int) -> Floats:
    """n times the mutual information of two sets, in bits: the first is of size `holding`, the second `fired`."""
    table = np.arange(n + 1, dtype=np.float64)
    table[1:] *= np.log2(table[1:])
    cells = table[both] + table[holding - both] + table[fired - both] + table[n - holding - fired + both]
    margins = table[holding] + table[n - holding] + table[fired] + table[n - fired]
    return np.asarray(cells - margins + table[n])
