"""FeatureStats: the counts and sums of every feature from one pass over the headlines, in bounded memory."""

from dataclasses import dataclass, fields

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.sae.firings import Firings

# Activations are lengths in units where a token has norm √d_in, which is 20 to 30. There are ten bins per decade.
HISTOGRAM_EDGES = np.logspace(-3, 2, 51)
CHOOSING, TESTING = 0, 1  # halves of the headlines: one ranks the features, the other tests them


def halves(headline_ids: list[str]) -> Ints:
    """The half of each headline, CHOOSING or TESTING, by a bit of its text's hash: the same in every run."""
    return in_testing_half(headline_ids).astype(np.int64)


@dataclass(eq=False)
class FeatureStats:
    """Sums over counted tokens and over headlines, for each feature. Those of different headlines merge by `+`.

    Let m be the feature's maximum over a headline's counted tokens. `class_*` count headlines and add up m by half
    (CHOOSING, TESTING) and by true label.
    """

    n_tokens: int
    n_headlines: int
    counts: Ints  # [d_sae] tokens on which the feature fires
    powers: Floats  # [4, d_sae] Σf, Σf², Σf³, Σf⁴
    maximum: Floats  # [d_sae]
    histogram: Ints  # [d_sae, bins] tokens per bin of HISTOGRAM_EDGES; the outer bins include what lies beyond
    headline_counts: Ints  # [d_sae] headlines on which the feature fires
    mass_log_mass: Floats  # [d_sae] Σ s·ln s over headlines, s = Σf within the headline
    class_sizes: Ints  # [2, n_classes] headlines
    class_histogram: Ints  # [2, n_classes, d_sae, bins] headlines per bin of m; those where m is 0 are in no bin
    class_sums: Floats  # [2, n_classes, d_sae] Σ m

    @classmethod
    def empty(cls, d_sae: int, n_classes: int) -> "FeatureStats":
        """Statistics over no tokens."""
        bins = len(HISTOGRAM_EDGES) - 1
        return cls(
            n_tokens=0,
            n_headlines=0,
            counts=np.zeros(d_sae, np.int64),
            powers=np.zeros((4, d_sae)),
            maximum=np.zeros(d_sae),
            histogram=np.zeros((d_sae, bins), np.int64),
            headline_counts=np.zeros(d_sae, np.int64),
            mass_log_mass=np.zeros(d_sae),
            class_sizes=np.zeros((2, n_classes), np.int64),
            class_histogram=np.zeros((2, n_classes, d_sae, bins), np.int32),
            class_sums=np.zeros((2, n_classes, d_sae)),
        )

    @property
    def n_classes(self) -> int:
        """The number of classes of the true label."""
        return int(self.class_sizes.shape[1])

    @property
    def class_headline_counts(self) -> Ints:
        """Headlines of each class on which the feature fires, [n_classes, d_sae]."""
        return np.asarray(self.class_histogram.sum((0, 3), dtype=np.int64))

    @property
    def class_means(self) -> Floats:
        """The mean of m over each class's headlines, [n_classes, d_sae]."""
        return np.asarray(self.class_sums.sum(0) / np.maximum(self.class_sizes.sum(0), 1)[:, None])

    def __add__(self, other: "FeatureStats") -> "FeatureStats":
        """Statistics over the headlines of both."""
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "maximum"}
        return FeatureStats(maximum=np.maximum(self.maximum, other.maximum), **total)

    def add(self, firings: Firings, n_tokens: int, first: int, labels: Ints, half: Ints) -> None:
        """Count headlines first, first + 1, … in place.

        n_tokens are their counted tokens; labels and half [n_headlines] are their true labels and halves.
        """
        d_sae, bins = self.histogram.shape
        f, values = firings.feature, firings.value.astype(np.float64)
        self.n_tokens += n_tokens
        self.n_headlines += len(labels)
        self.counts += np.bincount(f, minlength=d_sae)
        power = np.ones_like(values)
        for row in self.powers:
            power *= values
            row += np.bincount(f, weights=power, minlength=d_sae)
        self.histogram += np.bincount(f * bins + bins_of(values), minlength=d_sae * bins).reshape(d_sae, bins)
        if len(f):
            feature, mass = firings.group_feature, np.add.reduceat(values, firings.group_start)
            np.maximum.at(self.maximum, feature, firings.group_max.astype(np.float64))
            self.headline_counts += np.bincount(feature, minlength=d_sae)
            self.mass_log_mass += np.bincount(feature, weights=mass * np.log(mass), minlength=d_sae)
        self._add_classes(firings, first, labels, half)

    def _add_classes(self, firings: Firings, first: int, labels: Ints, half: Ints) -> None:
        cell = half * self.n_classes + labels
        self.class_sizes += np.bincount(cell, minlength=self.class_sizes.size).reshape(self.class_sizes.shape)
        place = cell[firings.group_headline - first] * self.counts.size + firings.group_feature
        peaks = firings.group_max.astype(np.float64)
        sums, histogram = self.class_sums, self.class_histogram
        sums += np.bincount(place, weights=peaks, minlength=sums.size).reshape(sums.shape)
        found, n = np.unique(place * histogram.shape[-1] + bins_of(peaks), return_counts=True)
        histogram.reshape(-1)[found] += n.astype(np.int32)


def bins_of(values: Floats) -> Ints:
    """The bin of each value. The edges are log-spaced, so a logarithm finds it, and its two edges correct rounding."""
    low, per_bin = np.log(HISTOGRAM_EDGES[0]), np.log(HISTOGRAM_EDGES[1] / HISTOGRAM_EDGES[0])
    last = len(HISTOGRAM_EDGES) - 2
    guess = np.clip(((np.log(values) - low) / per_bin).astype(np.int64), 0, last)
    guess -= (values < HISTOGRAM_EDGES[guess]) & (guess > 0)
    guess += (values >= HISTOGRAM_EDGES[guess + 1]) & (guess < last)
    return np.asarray(guess)
