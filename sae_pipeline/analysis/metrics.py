"""The metrics of a run: one number for each feature, computed from `FeatureStats`.

To add one, write a function from `FeatureStats` to [d_sae] numbers here, with its formula in the docstring, and add a
`Metric` with it to `FEATURE_METRICS`. A `ClassMetric` is a function of the class too and gives a metric for each class.
A notebook passes its own to `pipeline.analyze` beside these. The run's files and the viewer show every metric of the
list, under its label and with its description.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.analysis.label_tests import LabelTest, auroc, mutual_information, selectivity
from sae_pipeline.arrays import Floats
from sae_pipeline.schema.common import MIN_HEADLINES, PER_HEADLINE, PositionKind
from sae_pipeline.schema.run import MetricInfo


@dataclass(frozen=True)
class Metric:
    """A number for each feature. `compute(stats)` returns [d_sae] finite numbers, or a `LabelTest` with them."""

    name: str
    label: str
    description: str
    compute: Callable[[FeatureStats], Floats | LabelTest]

    def info(self, positions: PositionKind) -> MetricInfo:
        """Name, label and description, as `metadata.json` holds them, for an SAE that reads these `positions`."""
        said = self.description
        if positions in PER_HEADLINE:  # one vector per headline counts as its token
            said = said.replace("counted token", "headline")
        return MetricInfo(name=self.name, label=self.label, description=said)


@dataclass(frozen=True)
class ClassMetric:
    """A metric for each class. `compute(stats, label)` is that of a `Metric`; `{}` in the description is the class."""

    name: str
    label: str
    description: str
    compute: Callable[[FeatureStats, int], Floats | LabelTest]

    def of(self, label: int, class_name: str) -> Metric:
        """The metric of the class `class_name`, whose index is `label`."""
        return Metric(
            name=f"{self.name}_{class_name.lower()}",
            label=f"{self.label} {class_name}",
            description=self.description.replace("{}", class_name),
            compute=lambda stats: self.compute(stats, label),
        )


def metrics_of(metrics: Iterable[Metric | ClassMetric], class_names: Sequence[str]) -> list[Metric]:
    """The metrics of a run whose classes have these names, in order."""
    found: list[Metric] = []
    for metric in metrics:
        if isinstance(metric, ClassMetric):
            found += [metric.of(label, name) for label, name in enumerate(class_names)]
        else:
            found.append(metric)
    return found


def mean_activation(stats: FeatureStats) -> Floats:
    """Σf / N over the N counted tokens."""
    return np.asarray(stats.powers[0] / max(stats.n_tokens, 1))


def max_activation(stats: FeatureStats) -> Floats:
    """Maximum of f over the counted tokens."""
    return stats.maximum


def fraction_active(stats: FeatureStats) -> Floats:
    """Share of counted tokens with f > 0."""
    return stats.counts / max(stats.n_tokens, 1)


def entropy(stats: FeatureStats) -> Floats:
    """−Σ p·log₂ p in bits, p = a headline's share of the feature's summed activation; 0 for a silent feature."""
    mass = stats.powers[0]
    live = mass > 0
    nats = np.zeros_like(mass)
    nats[live] = np.log(mass[live]) - stats.mass_log_mass[live] / mass[live]
    return np.asarray(np.maximum(nats, 0.0) / np.log(2.0))


def kurtosis(stats: FeatureStats) -> Floats:
    """E(f−μ)⁴ / (E(f−μ)²)² over all counted tokens, zeros included (a normal has 3); 0 for a silent feature."""
    m1, m2, m3, m4 = stats.powers / max(stats.n_tokens, 1)
    variance = m2 - m1**2
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    live = variance > 1e-12 * np.maximum(m2, 1e-30)
    return np.asarray(np.divide(fourth, variance**2, out=np.zeros_like(m1), where=live))


_TESTED = (
    "Ranked on half of the headlines; tested, with a 95 % bootstrap interval over headlines, on the other half"
    f" (where it fires on fewer than {MIN_HEADLINES} of them: neutral, not tested)."
)
_OWN_METRICS = (
    Metric("mean_activation", "Mean activation", "Mean of f over all counted tokens.", mean_activation),
    Metric("max_activation", "Max activation", "Largest f on any counted token.", max_activation),
    Metric("fraction_active", "Fraction active", "Share of counted tokens on which it fires (f > 0).", fraction_active),
    Metric(
        "entropy",
        "Entropy",
        "How evenly its activation is spread over headlines, in bits: 0 = one headline, log₂ n = n headlines alike.",
        entropy,
    ),
    Metric(
        "kurtosis",
        "Kurtosis",
        "Tailedness of f over all counted tokens, zeros included: high = rare and strong, 3 = like a normal.",
        kurtosis,
    ),
)
_LABEL_METRICS = (
    ClassMetric(
        "auroc",
        "AUROC",
        "Chance that it is stronger in a {} headline than in another (by its maximum): 0.5 = says nothing. "
        f"q: Mann–Whitney. {_TESTED}",
        auroc,
    ),
    Metric(
        "mutual_information",
        "Mutual information",
        f"Bits about the true label in whether it fires in a headline, less the bias. q: G-test. {_TESTED}",
        mutual_information,
    ),
    Metric(
        "selectivity",
        "Selectivity",
        "(μ₁ − μ₀)/(μ₁ + μ₀), μ₁ = mean maximum in the class where it is highest, μ₀ = the other classes' mean: "
        f"1 = fires in one class only. {_TESTED}",
        selectivity,
    ),
)
FEATURE_METRICS: tuple[Metric | ClassMetric, ...] = (*_OWN_METRICS, *_LABEL_METRICS)
