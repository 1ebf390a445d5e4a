"""The score of a rule on headlines that chose nothing.

A rule holds in a headline or not, and a unit fires there or not. So the area under the ROC curve is

    AUROC = ½ + (TPR − FPR) / 2,

with TPR and FPR the shares of headlines with and without firing in which the rule holds. Its 95 % interval is that of
the difference of two shares, with one headline of each outcome added to both (Agresti and Caffo 2000). Unlike DeLong's,
it does not shrink to a point where a rule makes no mistake on few headlines.
"""

from typing import NamedTuple

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.naming.bits import Bits, count

_Z = 1.959963984540054  # the standard normal's 97.5 % quantile


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
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = both / fired - (holding - both) / silent
        inside, outside = (both + 1) / (fired + 2), (holding - both + 1) / (silent + 2)
        spread = _Z * np.sqrt(inside * (1 - inside) / (fired + 2) + outside * (1 - outside) / (silent + 2))
        f1 = np.where(holding > 0, 2 * both / (holding + fired), 0.0)
    middle = inside - outside
    low, high = (np.clip(0.5 + end / 2, 0.0, 1.0) for end in (middle - spread, middle + spread))
    auroc = 0.5 + difference / 2
    return Scores(
        *(np.where(tested, values, np.nan) for values in (auroc, np.minimum(low, auroc), np.maximum(high, auroc), f1)),
        fired,
        holding,
    )
