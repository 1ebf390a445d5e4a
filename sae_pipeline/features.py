"""What features do on the headlines of a run: statistics of all of them, examples, the strongest per headline.

One pass over blocks of headlines in order. Only active entries are kept: lists of (headline, position, feature,
activation), never a dense [n_tokens, d_sae]. Everything that outlives a block is bounded: sums per feature, and the
strongest few headlines of each feature.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from .activations import hooked, resolve_hookpoint
from .classifier import Classifier
from .config import AnalyzeConfig
from .headlines import Split
from .runs import RunDraft
from .sae import SparseAutoencoder
from .schema import MetricInfo, Totals
from .tokens import TokenizedHeadline, collate, counted_mask, length_batches

Floats = NDArray[Any]
Ints = NDArray[Any]

_BLOCK = 256  # headlines in memory at a time
_LEADERS = 100  # length of a metric's top list when all features have examples
# Activations are lengths in units where a token has norm √d_in: 20 to 30. Ten bins per factor of ten.
HISTOGRAM_EDGES = np.logspace(-3, 2, 51)


# --- statistics and metrics ----------------------------------------------------------------------------


@dataclass
class FeatureStats:
    """Sums over all counted tokens, per feature; two of them over different headlines merge by `+`."""

    n_tokens: int
    n_headlines: int
    counts: Ints  # [d_sae] tokens on which the feature fires
    powers: Floats  # [4, d_sae] Σf, Σf², Σf³, Σf⁴
    maximum: Floats  # [d_sae]
    histogram: Ints  # [d_sae, bins] tokens per bin of HISTOGRAM_EDGES; the outer bins take what lies beyond
    headline_counts: Ints  # [d_sae] headlines on which the feature fires
    mass_log_mass: Floats  # [d_sae] Σ m·ln m over headlines, m = Σf within the headline

    @classmethod
    def empty(cls, d_sae: int) -> "FeatureStats":
        """No tokens seen."""
        return cls(
            n_tokens=0,
            n_headlines=0,
            counts=np.zeros(d_sae, np.int64),
            powers=np.zeros((4, d_sae)),
            maximum=np.zeros(d_sae),
            histogram=np.zeros((d_sae, len(HISTOGRAM_EDGES) - 1), np.int64),
            headline_counts=np.zeros(d_sae, np.int64),
            mass_log_mass=np.zeros(d_sae),
        )

    def __add__(self, other: "FeatureStats") -> "FeatureStats":
        """Statistics over both sets of headlines."""
        return FeatureStats(
            n_tokens=self.n_tokens + other.n_tokens,
            n_headlines=self.n_headlines + other.n_headlines,
            counts=self.counts + other.counts,
            powers=self.powers + other.powers,
            maximum=np.maximum(self.maximum, other.maximum),
            histogram=self.histogram + other.histogram,
            headline_counts=self.headline_counts + other.headline_counts,
            mass_log_mass=self.mass_log_mass + other.mass_log_mass,
        )

    def add(self, firings: "Firings", n_tokens: int, n_headlines: int) -> None:
        """Count one block in place."""
        d_sae, bins = self.histogram.shape
        f, values = firings.feature, firings.value.astype(np.float64)
        self.n_tokens += n_tokens
        self.n_headlines += n_headlines
        self.counts += np.bincount(f, minlength=d_sae)
        for power in range(4):
            self.powers[power] += np.bincount(f, weights=values ** (power + 1), minlength=d_sae)
        np.maximum.at(self.maximum, firings.group_feature, firings.group_max)
        bin_ = np.clip(np.searchsorted(HISTOGRAM_EDGES, values, side="right") - 1, 0, bins - 1)
        cells, added = np.unique(f * bins + bin_, return_counts=True)
        self.histogram.reshape(-1)[cells] += added
        self.headline_counts += np.bincount(firings.group_feature, minlength=d_sae)
        if len(f):
            mass = np.add.reduceat(values, firings.group_start)
            self.mass_log_mass += np.bincount(firings.group_feature, weights=mass * np.log(mass), minlength=d_sae)


@dataclass(frozen=True)
class Metric:
    """A number for each feature, computed from FeatureStats: `compute(stats)` returns [d_sae], finite."""

    name: str
    label: str
    description: str
    compute: Callable[[FeatureStats], Floats]

    @property
    def info(self) -> MetricInfo:
        """What the run file says of it."""
        return MetricInfo(name=self.name, label=self.label, description=self.description)


def mean_activation(stats: FeatureStats) -> Floats:
    """Σf / N over all counted tokens."""
    return np.asarray(stats.powers[0] / max(stats.n_tokens, 1))


def max_activation(stats: FeatureStats) -> Floats:
    """max f over all counted tokens."""
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


FEATURE_METRICS: tuple[Metric, ...] = (
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


# --- active entries ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Firings:
    """Active entries of a block, ordered by headline, feature, position; a group is one feature in one headline."""

    headline: Ints  # [n_entries] index in the run
    feature: Ints  # [n_entries]
    position: Ints  # [n_entries]
    value: Floats  # [n_entries]
    group_start: Ints  # [n_groups] index of the group's first entry
    group_max: Floats  # [n_groups]
    group_argmax: Ints  # [n_groups] index of its first entry that holds the maximum

    @property
    def group_headline(self) -> Ints:
        """[n_groups]."""
        return self.headline[self.group_start]

    @property
    def group_feature(self) -> Ints:
        """[n_groups]."""
        return self.feature[self.group_start]

    @property
    def group_length(self) -> Ints:
        """[n_groups] entries in each group."""
        return np.diff(self.group_start, append=len(self.feature))

    @classmethod
    def collect(cls, headline: Ints, position: Ints, feature: Ints, value: Floats) -> "Firings":
        """From entries in any order, at most one per (headline, position, feature)."""
        order = np.lexsort((position, feature, headline))
        headline, position, feature, value = headline[order], position[order], feature[order], value[order]
        changed = (np.diff(headline, prepend=-1) != 0) | (np.diff(feature, prepend=-1) != 0)
        start = np.flatnonzero(changed)
        if not len(start):
            return cls(headline, feature, position, value, start, value[:0], start)
        peak = np.maximum.reduceat(value, start)
        index = np.arange(len(value))
        is_peak = value == np.repeat(peak, np.diff(start, append=len(value)))
        argmax = np.minimum.reduceat(np.where(is_peak, index, len(value)), start)
        return cls(headline, feature, position, value, start, peak, argmax)

    def strongest_groups(self, k: int) -> Ints:
        """Groups that are among the k strongest of their headline: by headline, strongest first, ties by feature."""
        order = np.lexsort((self.group_feature, -self.group_max, self.group_headline))
        return order[_rank_in_run(self.group_headline[order]) < k]


def _rank_in_run(sorted_keys: Ints) -> Ints:
    """0, 1, 2, … within each run of equal keys."""
    starts = np.flatnonzero(np.diff(sorted_keys, prepend=-1) != 0)
    lengths = np.diff(starts, append=len(sorted_keys))
    return np.arange(len(sorted_keys)) - np.repeat(starts, lengths)


def _ragged(starts: Ints, lengths: Ints) -> Ints:
    """Indices start, start+1, … of every group, one after the other."""
    offsets = np.cumsum(lengths) - lengths
    return np.repeat(starts - offsets, lengths) + np.arange(lengths.sum())


class TopHeadlines:
    """The k headlines on which each feature fires most, ties to the earlier headline; bounded memory."""

    def __init__(self, d_sae: int, k: int) -> None:
        """Keep k headlines for each of d_sae features."""
        self.k = k
        self.threshold = np.zeros(d_sae)  # what a new headline must exceed
        self.limit = max(1 << 20, d_sae * k)
        self.pending: list[Firings] = []
        self.n_pending = 0

    def add(self, firings: Firings) -> None:
        """Offer a block's groups; headlines must come in ascending order."""
        wanted = firings.group_max > self.threshold[firings.group_feature]
        self.pending.append(_take_groups(firings, np.flatnonzero(wanted)))
        self.n_pending += len(self.pending[-1].feature)
        if self.n_pending > 2 * self.limit:
            self._compact()

    def _compact(self) -> None:
        merged = Firings.collect(
            *(
                np.concatenate([getattr(part, name) for part in self.pending])
                for name in ("headline", "position", "feature", "value")
            )
        )
        order = np.lexsort((merged.group_headline, -merged.group_max, merged.group_feature))
        rank = _rank_in_run(merged.group_feature[order])
        last = order[rank == self.k - 1]
        self.threshold[merged.group_feature[last]] = merged.group_max[last]
        self.pending = [_take_groups(merged, np.sort(order[rank < self.k]))]
        self.n_pending = len(self.pending[0].feature)
        self.limit = max(self.limit, self.n_pending)

    def finish(self) -> tuple[Firings, dict[int, Ints]]:
        """The kept entries, and for each feature its groups among them, strongest first."""
        self._compact()
        kept = self.pending[0]
        order = np.lexsort((kept.group_headline, -kept.group_max, kept.group_feature))
        feature = kept.group_feature[order]
        starts = np.flatnonzero(np.diff(feature, prepend=-1) != 0)
        return kept, dict(zip(feature[starts].tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def _take_groups(firings: Firings, groups: Ints) -> Firings:
    length = firings.group_length[groups]
    entries = _ragged(firings.group_start[groups], length)
    start = np.cumsum(length) - length
    offset = firings.group_argmax[groups] - firings.group_start[groups]
    return Firings(
        firings.headline[entries],
        firings.feature[entries],
        firings.position[entries],
        firings.value[entries],
        start,
        firings.group_max[groups],
        start + offset,
    )


# --- a run ---------------------------------------------------------------------------------------------


def analyze_headlines(
    classifier: Classifier,
    sae: SparseAutoencoder,
    split: Split,
    config: AnalyzeConfig,
    metrics: Sequence[Metric],
    draft: RunDraft,
) -> Totals:
    """Write all of a run's files but `metadata.json` to `draft`."""
    d_sae = sae.config.d_sae
    stats = FeatureStats.empty(d_sae)
    top = TopHeadlines(d_sae, config.top_tokens_per_feature)
    prompts: list[dict[str, Any]] = []
    strongest: list[dict[str, Any]] = []
    n_tokens = 0
    with tqdm(total=len(split), desc="analyze", unit="headline") as bar:
        for start in range(0, len(split), _BLOCK):
            texts = split.texts[start : start + _BLOCK]
            tokenized = classifier.tokenize(texts)
            probabilities, firings = _read_block(classifier, sae, tokenized, start, config.tokens_per_batch)
            counted = sum(len(h.counted("words")) for h in tokenized)
            stats.add(firings, counted, len(texts))
            top.add(firings)
            n_tokens += sum(len(h.input_ids) for h in tokenized)
            for row, headline in enumerate(tokenized):
                prompts.append(_prompt(split, start + row, headline, probabilities[row]))
            strongest.extend(_headline_records(split, firings, tokenized, start, config.top_features_per_headline))
            bar.update(len(texts))
    values = {metric.name: metric.compute(stats) for metric in metrics}
    n_leaders = _LEADERS if config.top_features == "all" else config.top_features
    leaders = {name: np.argsort(-column, kind="stable")[:n_leaders] for name, column in values.items()}
    kept, groups = top.finish()
    led = groups.keys() if config.top_features == "all" else {int(f) for leader in leaders.values() for f in leader}
    wanted = sorted(led & groups.keys())
    draft.write_prompts(prompts)
    draft.write_headline_features(strongest)
    draft.write_feature_stats(
        {
            "d_sae": d_sae,
            "n_headlines": stats.n_headlines,
            "n_counted_tokens": stats.n_tokens,
            "headline_counts": stats.headline_counts,
            "metrics": [{"name": name, "top": leaders[name], "values": values[name]} for name in values],
        }
    )
    draft.write_feature_tokens(
        {"histogram_edges": HISTOGRAM_EDGES},
        _example_records(classifier, split, stats, kept, {f: groups[f] for f in wanted}),
    )
    return Totals(
        n_headlines=len(split),
        n_tokens=n_tokens,
        n_counted_tokens=stats.n_tokens,
        n_features=d_sae,
        n_live_features=int((stats.counts > 0).sum()),
        n_features_with_examples=len(wanted),
    )


@torch.inference_mode()
def _read_block(
    classifier: Classifier, sae: SparseAutoencoder, tokenized: Sequence[TokenizedHeadline], first: int, budget: int
) -> tuple[Floats, Firings]:
    """Class probabilities [n_headlines, n_classes] and the active entries at word positions; fp32."""
    module, _ = resolve_hookpoint(classifier.model, sae.config.hookpoint.layer)
    probabilities = np.zeros((len(tokenized), classifier.model.config.num_labels), np.float64)
    parts: list[tuple[Ints, Ints, Ints, Floats]] = []
    captured: list[torch.Tensor] = []
    for batch in length_batches([len(h.input_ids) for h in tokenized], budget):
        members = [tokenized[i] for i in batch]
        input_ids, mask = collate(members, classifier.tokenizer.pad_token_id)
        captured.clear()
        with hooked(module, captured.append):
            logits = classifier.model(
                input_ids=input_ids.to(classifier.device), attention_mask=mask.to(classifier.device)
            ).logits
        probabilities[batch] = logits.double().softmax(-1).cpu().numpy()
        row, position = counted_mask(members, "words").to(classifier.device).nonzero(as_tuple=True)
        token, feature, value = sae.encode_active(captured[0][row, position])
        headline = first + batch[row.cpu().numpy()]
        parts.append((headline[token], position.cpu().numpy()[token], feature, value))
    return probabilities, Firings.collect(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _prompt(split: Split, index: int, headline: TokenizedHeadline, probabilities: Floats) -> dict[str, Any]:
    return {
        "headline_id": split.ids[index],
        "text": headline.text,
        "label": split.labels[index],
        "prediction": int(probabilities.argmax()),
        "probabilities": probabilities,
        "tokens": headline.tokens,
        "starts": headline.starts,
        "ends": headline.ends,
        "words": headline.words,
    }


def _firing(firings: Firings, group: int, headline: TokenizedHeadline) -> dict[str, Any]:
    start = firings.group_start[group]
    end = firings.group_start[group + 1] if group + 1 < len(firings.group_start) else len(firings.feature)
    position = int(firings.position[firings.group_argmax[group]])
    return {
        "activation": firings.group_max[group],
        "position": position,
        "token": headline.tokens[position],
        "word": headline.word_at(position),
        "positions": firings.position[start:end],
        "values": firings.value[start:end],
    }


def _headline_records(
    split: Split, firings: Firings, tokenized: Sequence[TokenizedHeadline], first: int, k: int
) -> Iterator[dict[str, Any]]:
    groups = firings.strongest_groups(k)
    headline = firings.group_headline[groups]
    for row, record in enumerate(tokenized):
        members = groups[np.searchsorted(headline, first + row) : np.searchsorted(headline, first + row + 1)]
        yield {
            "headline": first + row,
            "headline_id": split.ids[first + row],
            "features": [{"feature": int(firings.group_feature[g]), **_firing(firings, g, record)} for g in members],
        }


def _example_records(
    classifier: Classifier, split: Split, stats: FeatureStats, kept: Firings, groups: dict[int, Ints]
) -> Iterator[dict[str, Any]]:
    needed: list[int] = sorted({int(h) for g in groups.values() for h in kept.group_headline[g]})
    # Tokenised again rather than kept from the pass: memory then grows with the examples, not with the headlines.
    tokenized = dict(zip(needed, classifier.tokenize([split.texts[h] for h in needed]), strict=True))

    def record(feature: int, members: Ints) -> dict[str, Any]:
        examples = [
            {"headline": h, **_firing(kept, g, tokenized[h])}
            for g, h in zip(members.tolist(), kept.group_headline[members].tolist(), strict=True)
        ]
        return {
            "feature": feature,
            "word": examples[0]["word"],
            "histogram": stats.histogram[feature],
            "examples": examples,
        }

    yield from starmap(record, groups.items())
