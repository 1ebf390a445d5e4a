"""The score of a rule on headlines that chose nothing.

A rule holds in a headline or not, and a unit fires there or not. So the area under the ROC curve is

    AUROC = ½ + (TPR − FPR) / 2,

with TPR and FPR the shares of headlines with and without firing in which the rule holds. Its 95 % interval is that of
the difference of these shares. Unlike DeLong's, it does not shrink to a point where a rule makes no mistake on few
headlines.
"""

from typing import NamedTuple

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.intervals import share_difference
from sae_pipeline.naming.bits import Bits, count


class Scores(NamedTuple):
    """The scores of rules, each [n_units]; NaN where a unit fires on too few of the headlines, or on too many."""

    auroc: Floats
    low: Floats
    high: Floats
    f1: Floats
    fired: Ints  # headlines in which the unit fires
    holding: Ints  # headlines in which the rule holds


def score_rules(rules: Bits, fires: Bits, n: int, least: int) -> Scores:
    """Score rules [n_units, …] against firing [n_units, …] on n headlines.

    A unit is scored if it fires in at least `least` headlines, and in all but at least `least`.
    """
    both, holding, fired = count(rules & fires), count(rules), count(fires)
    silent = n - fired
    tested = (fired >= least) & (silent >= least)
    auroc, low, high = (0.5 + end / 2 for end in share_difference(both, fired, holding - both, silent))
    f1 = 2 * both / np.maximum(holding + fired, 1)
    auroc, low, high, f1 = (np.where(tested, values, np.nan) for values in (auroc, low, high, f1))
    return Scores(auroc, low, high, f1, fired, holding)
