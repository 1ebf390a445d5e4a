"""A run's features as JSON in the form that SAEDashboard writes for Neuronpedia (Lin & Bloom): batch-0.json, ….

Neuronpedia's own tools turn these batches into what it imports. Differences that come from a classifier:

- `pos_str`, `neg_str` name classes instead of vocabulary tokens, and `pos_values`, `neg_values` are the feature's mean
  effects on their logits, as `intervene` measured them. Without these the lists are empty.
- `tokens` are pieces of the headline as written, so that joined they read like it.
- What this program does not measure stays empty: correlated neurons and features, histograms of logits.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sae_pipeline.arrays import Floats
from sae_pipeline.runs.folders import Run
from sae_pipeline.schema.causes import FeatureEffectsFile
from sae_pipeline.schema.run import Example, FeatureExamples, Prompt

_BATCH = 128  # features per file
_ALIGNED = 3  # neurons listed per feature
_EMPTY = (
    "correlated_neurons_indices",
    "correlated_neurons_pearson",
    "correlated_neurons_l1",
    "correlated_features_indices",
    "correlated_features_pearson",
    "correlated_features_l1",
    "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values",
    "decoder_weights_dist",
)


def neuronpedia_files(
    run: Run, effects: FeatureEffectsFile | None, decoder: Floats | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and contents of the batches, with every feature that has saved examples; `batch-0.json` is the last.

    `effects` are the class effects, `decoder` the rows W_dec [d_sae, d_in]; None where the run lacks them.
    """
    about, saved = run.metadata, run.feature_tokens.features
    for start in reversed(range(0, max(1, len(saved)), _BATCH)):
        yield (
            f"batch-{start // _BATCH}.json",
            {
                "model_id": about.classifier.model,
                "layer": about.hookpoint.layer - 1,  # counted from 0
                "sae_set": f"sae-{about.sae.size}",
                "sae_id_suffix": None,
                "features": [_feature(run, one, effects, decoder) for one in saved[start : start + _BATCH]],
            },
        )


def _feature(
    run: Run, one: FeatureExamples, effects: FeatureEffectsFile | None, decoder: Floats | None
) -> dict[str, Any]:
    edges = np.array(run.feature_tokens.histogram_edges)
    filled = np.flatnonzero(one.histogram)
    bins = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, 0)
    return {
        "feature_index": one.feature,
        **_alignment(decoder, one.feature),
        **_class_effects(run, one.feature, effects),
        "frac_nonzero": run.feature_stats.counts[one.feature] / run.feature_stats.n_counted_tokens,
        "freq_hist_data_bar_values": _rounded(np.sqrt(edges[:-1] * edges[1:])[bins]),  # the middle of each bin
        "freq_hist_data_bar_heights": one.histogram[bins],
        "n_prompts_total": run.metadata.totals.n_headlines,
        "n_tokens_in_prompt": run.metadata.classifier.max_length,
        "dataset": str(run.metadata.configs.get("headlines", {}).get("source", "")),
        "activations": list(_activations(run, one)),
        **{name: [] for name in _EMPTY},
    }


def _alignment(decoder: Floats | None, feature: int) -> dict[str, list[Any]]:
    """The neurons with the largest weights in the feature's decoder row, and their shares of its L1 norm."""
    row = np.zeros(0) if decoder is None else np.asarray(decoder[feature], np.float64)
    top = np.argsort(-np.abs(row), kind="stable")[:_ALIGNED]
    return {
        "neuron_alignment_indices": top.tolist(),
        "neuron_alignment_values": _rounded(row[top]),
        "neuron_alignment_l1": _rounded(row[top] / max(float(np.abs(row).sum()), 1e-12)),
    }


def _class_effects(run: Run, feature: int, effects: FeatureEffectsFile | None) -> dict[str, list[Any]]:
    """The classes that the feature promotes and suppresses, with its mean effects on their logits."""
    values = {column.name: column.values[feature] for column in effects.columns} if effects else {}
    found = [(values[name], label) for label in run.metadata.labels if (name := f"effect_{label.lower()}") in values]
    for_it = sorted((pair for pair in found if pair[0] > 0), reverse=True)
    against = sorted(pair for pair in found if pair[0] < 0)
    return {
        "pos_str": [label for _, label in for_it],
        "pos_values": [value for value, _ in for_it],
        "neg_str": [label for _, label in against],
        "neg_values": [value for value, _ in against],
    }


def _activations(run: Run, one: FeatureExamples) -> Iterator[dict[str, Any]]:
    """The examples, strongest first, then those of each range of activations."""
    strongest = max((example.activation for example in one.examples), default=0.0)
    groups: list[tuple[float, float, float, Sequence[Example]]] = [(-1.0, strongest, -1.0, one.examples)]
    n_headlines = max(1, run.feature_stats.headline_counts[one.feature])
    groups += [(g.low, g.high, g.n_headlines / n_headlines, g.examples) for g in one.groups]
    for low, high, share, examples in groups:
        for example in examples:
            prompt = run.prompts[example.headline]
            values = [0.0] * len(prompt.tokens)
            for position, value in zip(example.positions, example.values, strict=True):
                values[position] = value
            yield {
                "bin_min": low,
                "bin_max": high,
                "bin_contains": min(1.0, share),
                "qualifying_token_index": example.position,
                "tokens": _pieces(prompt),
                "values": values,
            }


def _pieces(prompt: Prompt) -> list[str]:
    """The tokens as they stand in the headline, with the space before them; special tokens by their names."""
    pieces, end = [], 0
    for token, start, stop, word in zip(prompt.tokens, prompt.starts, prompt.ends, prompt.words, strict=True):
        if word < 0 or stop <= start:
            pieces.append(token)
            continue
        gap = " " if any(letter.isspace() for letter in prompt.text[end:start]) else ""
        pieces.append(gap + prompt.text[start:stop])
        end = stop
    return pieces


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
