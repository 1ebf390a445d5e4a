"""Finds names: chooses a rule for each unit on one half of the headlines, and scores it on the other half."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sae_pipeline.arrays import Flags, Floats, Ints, rank_in_run
from sae_pipeline.naming.bits import Bits, packed
from sae_pipeline.naming.controls import other_units, summary
from sae_pipeline.naming.predicates import PredicateTable, predicate_table
from sae_pipeline.naming.rules import Rules, choose_rules
from sae_pipeline.naming.sample import SampledHeadline
from sae_pipeline.naming.scoring import Scores, score_rules
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.schema.common import MIN_HEADLINES
from sae_pipeline.schema.names import MAX_NAME, ControlKind, FeatureName, NameScores

LEAST_SCORE, LEAST_F1 = 0.7, 0.3
STRONG, STRONGEST = 0.5, 5  # a unit fires strongly above this share of its mean peak in so many choosing headlines
OFTEN = 0.5  # a unit that does so in a larger share of headlines is named by where it is above its median
FORMULA = (
    "A feature fires strongly in a headline where its maximum is above half of its mean in its 5 strongest choosing "
    "headlines. A rule is one predicate or the union of two or three: words, forms of a word, phrases, shapes of the "
    "text, what it begins or ends with, the predicted class, categories of a finance lexicon. On the choosing half, "
    "the 24 predicates with the highest weighted log-odds (Monroe et al. 2008) are the candidates, and the rule "
    "maximises n·I(rule; fires strongly) − Σ cost in bits. The predicted class makes a rule only alone, and where it "
    "gains more than twice as much as other predicates. On the testing half, the score is AUROC = ½ + (TPR − FPR) / "
    "2, with the interval of Agresti and Caffo (2000)."
)


@dataclass(frozen=True)
class NamedHeadlines:
    """Headlines in two halves, and the predicates that hold in each. Made once for all kinds of units."""

    table: PredicateTable
    choosing: Ints  # indices of the headlines that choose rules
    testing: Ints  # of those that score them

    @classmethod
    def read(cls, headlines: Sequence[SampledHeadline], tests: Flags, class_names: Sequence[str]) -> "NamedHeadlines":
        """Find the predicates. `tests` [n_headlines] is true in the half that scores."""
        choosing, testing = np.flatnonzero(~tests), np.flatnonzero(tests)
        halves = [[headlines[i] for i in half.tolist()] for half in (choosing, testing)]
        table = predicate_table(halves[0], halves[1], class_names)
        return cls(table, choosing, testing)


@dataclass(frozen=True)
class FoundNames:
    """The rules that were found for some units, with their scores."""

    units: Ints  # [n_units] those that fire in a sampled headline
    table: PredicateTable
    rules: Rules
    scores: Scores
    shuffled: Scores  # of the rule of another unit
    above: Floats  # [n_units] a unit fires strongly where its peak is above this
    rates: Floats  # [n_units] the share of all headlines in which it does

    @property
    def named(self) -> Flags:
        """Which units have a name: [n_units]."""
        return _enough(self.scores) & (self.rules.gain > 0)

    def records(self) -> dict[int, FeatureName]:
        """A record for each unit, by its number."""
        found = {}
        for row, (unit, named) in enumerate(zip(self.units.tolist(), self.named.tolist(), strict=True)):
            rule = [p for p in self.rules.predicates[row].tolist() if p >= 0]
            found[unit] = FeatureName(
                feature=unit,
                name=", ".join(self.table.names[p] for p in rule)[:MAX_NAME] if named else None,
                rule=[self.table.predicates[p] for p in rule],
                above=float(self.above[row]),
                n=int(self.scores.fired[row]),
                n_rule=int(self.scores.holding[row]),
                score=_number(self.scores.auroc[row]),
                low=_number(self.scores.low[row]),
                high=_number(self.scores.high[row]),
                f1=_number(self.scores.f1[row]),
                shuffled=_number(self.shuffled.auroc[row]),
            )
        return found

    def summaries(self, kind: ControlKind) -> NameScores:
        """The distribution of the scores."""
        return summary(kind, self.scores.auroc, self.named)

    def shuffled_summary(self) -> NameScores:
        """The distribution of the scores of other units' rules."""
        return summary("shuffled", self.shuffled.auroc, _enough(self.shuffled))


def find_names(headlines: NamedHeadlines, peaks: sparse.csr_matrix) -> FoundNames:
    """Find a rule for each unit that fires. `peaks` [n_headlines, n_units] are its maxima, 0 where it does not."""
    units = np.flatnonzero(np.diff(peaks.tocsc().indptr))
    by_unit = peaks.T.tocsr()[units]
    above = _thresholds(by_unit, headlines.choosing)
    by_unit.data = (by_unit.data > np.repeat(above, np.diff(by_unit.indptr))).astype(np.int32)
    by_unit.eliminate_zeros()
    choosing, testing = by_unit[:, headlines.choosing], by_unit[:, headlines.testing]
    rules = choose_rules(headlines.table, choosing, packed(choosing))
    holds, fires = rule_bits(headlines.table, rules), packed(testing)
    n = len(headlines.testing)
    scores = score_rules(holds, fires, n, MIN_HEADLINES)
    others = np.arange(len(units))
    with_rule = np.flatnonzero(rules.gain > 0)
    others[with_rule] = with_rule[other_units(len(with_rule))]
    shuffled = score_rules(holds[others], fires, n, MIN_HEADLINES)
    shuffled.auroc[others == np.arange(len(units))] = np.nan  # no rule, or none but its own
    rates = np.diff(by_unit.indptr) / max(by_unit.shape[1], 1)
    return FoundNames(units, headlines.table, rules, scores, shuffled, above, rates)


def rule_bits(table: PredicateTable, rules: Rules) -> Bits:
    """The testing headlines in which each rule holds: the union of those of its predicates."""
    none = np.zeros((1, table.testing_bits.shape[1]), np.uint64)
    padded = np.concatenate([table.testing_bits, none])  # −1 is the last row
    first, *others = rules.predicates.T
    held: Bits = padded[first]
    for predicates in others:
        held |= padded[predicates]
    return held


def _thresholds(by_unit: sparse.csr_matrix, choosing: Ints) -> Floats:
    """The peak above which each unit fires strongly, by its choosing headlines alone."""
    seen = by_unit[:, choosing]
    unit = np.repeat(np.arange(len(by_unit.indptr) - 1), np.diff(seen.indptr))
    order = np.lexsort((-seen.data, unit))
    strongest = order[rank_in_run(unit[order]) < STRONGEST]
    n = np.bincount(unit[strongest], minlength=by_unit.shape[0])
    above = STRONG * np.bincount(unit[strongest], seen.data[strongest], by_unit.shape[0]) / np.maximum(n, 1)
    often = np.bincount(unit, seen.data > above[unit], by_unit.shape[0]) > OFTEN * len(choosing)
    for row in np.flatnonzero(often).tolist():
        above[row] = np.median(seen[row].toarray())
    return six_digits(above)


def _enough(scores: Scores) -> Flags:
    return (scores.auroc >= LEAST_SCORE) & (scores.low > 0.5) & (scores.f1 >= LEAST_F1)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.6g}")
