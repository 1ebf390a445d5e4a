"""Whether edits that some headlines chose hold on others: errors mended and made, by class and slice, and controls."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import scipy

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.classifier import classifier_report
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.splicing import MIN_HEADLINES_FOR_INTERVAL
from sae_pipeline.intervals import paired_interval
from sae_pipeline.mending.edited import Factors, edited_logits
from sae_pipeline.schema.mending import Change, ClassChange, RandomSets, SliceChange, Verdict

_NEAREST = 50  # features with about as many headlines, of which a random one is drawn
_FEATURES_AT_ONCE = 512  # of all random sets that are tried together
_LEVEL = 0.05  # of McNemar's p, and of the share of random sets that are as good
_SLICES = {"with a ticker": re.compile(r"\$[A-Za-z]"), "with a number": re.compile(r"\d")}


def check_not_broken(before: Ints, after: Ints, names: Sequence[str]) -> None:
    """Raise UserError where all predictions [n_headlines] are of one class after edits, and were not before."""
    if len(set(after.tolist())) == 1 < len(set(before.tolist())):
        raise UserError(
            f"These edits break the classifier: it predicts {names[int(after[0])]} for all {len(after)} headlines that "
            "test them; give other factors."
        )


def change(labels: Ints, before: Ints, after: Ints, names: Sequence[str]) -> Change:
    """Compare predicted classes [n_headlines] before and after."""
    mended, made = _mended(labels, before, after)
    n, reports = len(labels), [classifier_report("test", labels, one, names) for one in (before, after)]
    return Change(
        n_headlines=n,
        accuracy_before=reports[0].accuracy,
        accuracy_after=reports[1].accuracy,
        macro_f1_before=reports[0].macro_f1,
        macro_f1_after=reports[1].macro_f1,
        mended=mended,
        made=made,
        interval=paired_interval(made, mended, n) if n >= MIN_HEADLINES_FOR_INTERVAL else None,
        mcnemar_p=min(1.0, float(scipy.stats.binomtest(mended, mended + made).pvalue)) if mended + made else 1.0,
    )


def _mended(labels: Ints, before: Ints, after: Ints) -> tuple[int, int]:
    """The errors that are mended, and those that are made."""
    was, is_ = before == labels, after == labels
    return int((~was & is_).sum()), int((was & ~is_).sum())


def by_class(labels: Ints, before: Ints, after: Ints, names: Sequence[str]) -> list[ClassChange]:
    """Recall and precision of each class before and after."""
    then, now = (classifier_report("test", labels, one, names).per_class for one in (before, after))
    return [
        ClassChange(
            label=old.label,
            support=old.support,
            recall_before=old.recall,
            recall_after=new.recall,
            precision_before=old.precision,
            precision_after=new.precision,
        )
        for old, new in zip(then, now, strict=True)
    ]


def transitions(before: Ints, after: Ints, n_classes: int) -> list[list[int]]:
    """[prediction before][prediction after]: headlines."""
    counts = np.bincount(before * n_classes + after, minlength=n_classes**2)
    return [[int(n) for n in row] for row in counts.reshape(n_classes, n_classes)]


def by_slice(texts: Sequence[str], labels: Ints, before: Ints, after: Ints) -> Iterator[SliceChange]:
    """The change in headlines with a ticker, with a number, and with neither; slices without headlines are left out."""
    has = {name: np.array([bool(pattern.search(text)) for text in texts], bool) for name, pattern in _SLICES.items()}
    neither = ~np.logical_or.reduce(list(has.values()))
    for name, inside in {**has, "with neither": neither}.items():
        if inside.any():
            mended, made = _mended(labels[inside], before[inside], after[inside])
            yield SliceChange(
                name=name,
                n_headlines=int(inside.sum()),
                accuracy_before=float((before == labels)[inside].mean()),
                accuracy_after=float((after == labels)[inside].mean()),
                mended=mended,
                made=made,
            )


def random_sets(
    probe: Probe, reading: Reading, labels: Ints, edits: Factors, found: Change, n_sets: int, seed: int
) -> RandomSets:
    """Edit as many random features that fire in about as many headlines, with the same factors, `n_sets` times.

    `found` is what the edits themselves change in these headlines.
    """
    counts = np.bincount(reading.firings.group_feature, minlength=probe.sae.config.d_sae)
    source = np.random.default_rng(seed)
    drawn = [_alike(edits, counts, source) for _ in range(n_sets)]
    at_once = max(1, _FEATURES_AT_ONCE // len(edits))
    parts = [edited_logits(probe, reading, drawn[n : n + at_once]) for n in range(0, n_sets, at_once)]
    right: Flags = np.concatenate(parts).argmax(-1) == labels
    changes: Floats = right.mean(-1) - found.accuracy_before
    as_good = changes >= found.accuracy_after - found.accuracy_before - 1e-12
    return RandomSets(accuracy_changes=changes.tolist(), n_as_good=int(as_good.sum()))


def _alike(edits: Factors, counts: Ints, source: np.random.Generator) -> Factors:
    """A random feature for each edited one, which fires in about as many of the headlines."""
    found: dict[int, float] = {}
    for feature, factor in edits.items():
        free = np.flatnonzero(counts > 0)
        free = free[~np.isin(free, [*edits, *found])]
        nearest = free[np.argsort(np.abs(counts[free] - counts[feature]), kind="stable")[:_NEAREST]]
        if len(nearest):
            found[int(source.choice(nearest))] = factor
    return found


def verdict(found: Change | None, sets: RandomSets | None) -> Verdict:
    """What the proof says; see `schema/mending.py`."""
    if found is None:
        return "none"
    if found.made >= found.mended:
        return "harms"
    better = sets is None or sets.n_as_good <= _LEVEL * len(sets.accuracy_changes)
    return "holds" if found.mcnemar_p < _LEVEL and better else "unproven"
