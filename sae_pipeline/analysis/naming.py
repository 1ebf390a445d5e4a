"""The names of a run's features: the headlines on which they are found, and the records of `names.json`."""

from collections.abc import Sequence

import numpy as np

from sae_pipeline.analysis.blocks import Block
from sae_pipeline.arrays import Ints
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.naming.controls import sparsified
from sae_pipeline.naming.names import FORMULA, LEAST_F1, LEAST_SCORE, NamedHeadlines, find_names
from sae_pipeline.naming.sample import HeadlineSample, SampledHeadline, peak_matrix, peaks_by_headline, read_words
from sae_pipeline.schema.dicts import NamesDict
from sae_pipeline.schema.names import FeatureName


def sampled_headlines(block: Block) -> dict[str, SampledHeadline]:
    """The headlines of a block, by id, as far as names depend on them."""
    firings = block.firings
    headline = firings.group_headline - block.first
    peaks = peaks_by_headline(headline, firings.group_feature, firings.group_max, len(block.ids))
    found = {}
    for row, (name, tokens) in enumerate(zip(block.ids, block.headlines, strict=True)):
        found[name] = SampledHeadline(
            text=tokens.text[: max(tokens.ends, default=0)] if tokens.is_cut else tokens.text,
            words=read_words(tokens),
            prediction=int(block.probabilities[row].argmax()),
            features=peaks[row],
            neurons=block.neurons[row].copy(),
        )
    return found


def names_records(
    sample: HeadlineSample, counts: Ints, class_names: Sequence[str]
) -> tuple[NamesDict, list[FeatureName]]:
    """The head of `names.json`, and a record for each feature that fires; `counts` [d_sae] says which do."""
    kept = sample.finish()
    headlines = [headline for _, headline in kept]
    tests = in_testing_half([name for name, _ in kept])
    named = NamedHeadlines.read(headlines, tests, class_names)
    peaks = peak_matrix(headlines, len(counts))
    found = find_names(named, peaks)
    strengths = np.stack([headline.neurons for headline in headlines]).astype(np.float32)
    neurons = find_names(named, sparsified(strengths, found.rates))
    records = found.records()
    head: NamesDict = {
        "d_sae": len(counts),
        "formula": FORMULA,
        "least_score": LEAST_SCORE,
        "least_f1": LEAST_F1,
        "n_choosing": len(named.choosing),
        "n_testing": len(named.testing),
        "scores": [found.summaries("names"), found.shuffled_summary(), neurons.summaries("neurons")],
    }
    return head, [records.get(feature) or _silent(feature) for feature in np.flatnonzero(counts).tolist()]


def _silent(feature: int) -> FeatureName:
    """The record of a feature that fires in headlines outside the sample only."""
    empty = dict.fromkeys(("name", "score", "low", "high", "f1", "shuffled"))
    return FeatureName(feature=feature, rule=[], above=0.0, n=0, n_rule=0, **empty)
