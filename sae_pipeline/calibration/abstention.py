"""Which headlines to leave unanswered: those of low confidence, or those whose support comes from doubtful features.

A feature is doubtful if it fires in more of the errors than of the other headlines, or if not all trainings with other
seeds find it. Features support a prediction by what they add to the predicted class: gradient × activation on centred
logits, where positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.evaluation.bootstrap import Figure, area_under_risk_coverage, surest_first
from sae_pipeline.schema.calibration import AbstentionVerdict, ErrorFeature, Ranking, Signal

COVERAGES = tuple(n / 20 for n in range(20, 1, -1))
_MIN_HEADLINES = 10  # in which a feature fires; rarer ones say too little about errors
_LEVEL = 0.05  # of Fisher's p
_FOLDS = 5


@dataclass(frozen=True)
class Support:
    """What features add to the predicted class of each headline."""

    headline: Ints  # [n_groups]
    feature: Ints  # [n_groups]
    amount: NDArray[np.float64]  # [n_groups] ≥ 0, in logits
    n_headlines: int
    d_sae: int

    @classmethod
    def of_effects(cls, headline: Ints, feature: Ints, effects: Floats, predicted: Ints, d_sae: int) -> "Support":
        """From the effects of features in headlines on all classes, [n_groups, n_classes]."""
        own = effects[np.arange(len(effects)), predicted[headline]] if len(effects) else np.zeros(0)
        return cls(headline, feature, np.maximum(own, 0.0), len(predicted), d_sae)

    def share(self, doubtful: Flags) -> Floats:
        """The share of each prediction's support from `doubtful` features [d_sae], [n_headlines] in [0, 1]."""
        total, part = (
            np.bincount(self.headline, self.amount * weights, self.n_headlines)
            for weights in (1.0, doubtful[self.feature])
        )
        return np.divide(part, total, out=np.zeros(self.n_headlines), where=total > 0)

    def counts(self, rows: Flags) -> Ints:
        """In how many of the headlines `rows` [n_headlines] each feature fires, [d_sae]."""
        return np.bincount(self.feature[rows[self.headline]], minlength=self.d_sae)


def error_features(support: Support, wrong: Flags, rows: Flags) -> tuple[list[ErrorFeature], int]:
    """The features that fire in more of the errors among `rows` than elsewhere there, and how many were tested.

    `wrong` and `rows` are bool [n_headlines].
    """
    n, n_wrong = int(rows.sum()), int((rows & wrong).sum())
    fires, fires_wrong = support.counts(rows), support.counts(rows & wrong)
    tested = np.flatnonzero((fires >= _MIN_HEADLINES) & (fires < n))
    p = scipy.stats.hypergeom.sf(fires_wrong[tested] - 1, n, n_wrong, fires[tested])
    order = np.argsort(p, kind="stable")
    found = [
        ErrorFeature(
            feature=int(tested[i]),
            n_headlines=int(fires[tested[i]]),
            n_errors=int(fires_wrong[tested[i]]),
            p=float(min(p[i], 1.0)),
        )
        for i in order
        if p[i] < _LEVEL
    ]
    return found, len(tested)


def flags_of(features: Sequence[ErrorFeature], d_sae: int) -> Flags:
    """These features as bool [d_sae]."""
    flags = np.zeros(d_sae, bool)
    flags[[one.feature for one in features]] = True
    return flags


def shares_out_of_fold(support: Support, wrong: Flags, seed: int) -> Floats:
    """The share of each prediction's support from error features which other headlines chose, [n_headlines].

    Features that a headline helped to choose would say too much about its own error.
    """
    fold = np.random.default_rng(seed).permutation(support.n_headlines) % _FOLDS
    found = np.zeros(support.n_headlines)
    for n in range(_FOLDS):
        features, _ = error_features(support, wrong, fold != n)
        found[fold == n] = support.share(flags_of(features, support.d_sae))[fold == n]
    return found


def fitted_sureness(inputs: Floats, wrong: Flags, others: Floats) -> Floats:
    """How sure the predictions of `others` [n, d] are, [n]; only their order means something.

    It is that of a logistic regression of `wrong`, bool [n_headlines], on `inputs` [n_headlines, d].
    """
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return np.asarray(-regression.fit(inputs, wrong).decision_function(others))


def rankings(sureness: dict[Signal, Floats], wrong: Flags) -> list[Ranking]:
    """What each signal [n_headlines] is worth for the order in which headlines are answered; confidence comes first."""
    areas = {signal: area_under_risk_coverage(sure, wrong) for signal, sure in sureness.items()}
    return [
        Ranking(
            signal=signal,
            area=areas[signal].value,
            interval=areas[signal].interval(),
            beyond_confidence=None if signal == "confidence" else beyond(areas[signal], areas["confidence"]),
            error_rates=_error_rates(sure, wrong),
        )
        for signal, sure in sureness.items()
    ]


def beyond(area: Figure, confidence: Figure) -> tuple[float, float]:
    """The 95 % interval of an area minus that of confidence, on the same resamples."""
    return area.gain_over(confidence).interval()


def _error_rates(sure: Floats, wrong: Flags) -> list[float]:
    """The error rate among the surest headlines, at each of `COVERAGES`."""
    ordered = wrong[surest_first(sure)]
    return [float(ordered[: max(1, round(coverage * len(wrong)))].mean()) for coverage in COVERAGES]


def verdict(found: Sequence[Ranking]) -> AbstentionVerdict:
    """Whether confidence with features leaves fewer errors than confidence alone."""
    both = next((one.beyond_confidence for one in found if one.signal == "both"), None)
    if both is None:
        return "unknown"
    low, high = both
    return "helps" if high < 0 else "hurts" if low > 0 else "unproven"
