"""The records of a run's headlines: text and prediction, and the features that are strongest in each."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import orjson

from sae_pipeline.analysis.blocks import Block
from sae_pipeline.arrays import Ints, rank_in_run, run_starts
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.dicts import FiredFeatureDict, HeadlineFeaturesDict, PromptDict


def prompt_records(block: Block) -> Iterator[bytes]:
    """The JSON of a `PromptDict` for each headline of a block."""
    probabilities = six_digits(block.probabilities).tolist()
    for row, headline in enumerate(block.headlines):
        record: PromptDict = {
            "headline_id": block.ids[row],
            "text": headline.text,
            "label": block.labels[row],
            "prediction": int(block.probabilities[row].argmax()),
            "probabilities": probabilities[row],
            "tokens": headline.tokens,
            "starts": headline.starts,
            "ends": headline.ends,
            "words": headline.words,
            "columns": block.cells[row],
        }
        yield orjson.dumps(record)


def strongest_features(firings: Firings, k: int) -> Ints:
    """The groups of the k features with the largest activation in each headline, [n_groups].

    They are ordered by headline, strongest first. Of equally strong features the lower index comes first.
    """
    headline = firings.group_headline
    bounds = np.append(run_starts(headline), len(headline)).tolist()
    candidates = [np.zeros(0, np.int64)]
    for start, end in pairwise(bounds):
        peaks = firings.group_max[start:end]
        if len(peaks) > k:
            weakest = np.partition(peaks, len(peaks) - k)[len(peaks) - k]
            candidates.append(start + np.flatnonzero(peaks >= weakest))
        else:
            candidates.append(np.arange(start, end))
    groups = np.concatenate(candidates)
    groups = groups[np.lexsort((firings.group_feature[groups], -firings.group_max[groups], headline[groups]))]
    return groups[rank_in_run(headline[groups]) < k]


def headline_feature_records(block: Block, k: int) -> Iterator[bytes]:
    """The JSON of a `HeadlineFeaturesDict` for each headline of a block: its k strongest features."""
    groups = strongest_features(block.firings, k)
    firings = block.firings.take(np.sort(groups))
    order = np.argsort(np.argsort(groups))  # where `firings` has each of `groups`
    value, position = six_digits(firings.value).tolist(), firings.position.tolist()
    feature, peak = firings.group_feature.tolist(), firings.group_argmax.tolist()
    span = list(pairwise([*firings.group_start.tolist(), len(position)]))
    bounds = np.searchsorted(firings.group_headline, block.first + np.arange(len(block.ids) + 1))
    whole = block.positions in PER_HEADLINE
    for row, (tokens, words) in enumerate(zip((h.tokens for h in block.headlines), block.words, strict=True)):
        fired: list[FiredFeatureDict] = []
        for group in order[bounds[row] : bounds[row + 1]].tolist():
            start, end = span[group]
            strongest = position[peak[group]]
            fired.append(
                {
                    "feature": feature[group],
                    "activation": value[peak[group]],
                    "position": strongest,
                    "token": "" if whole else tokens[strongest],
                    "word": "" if whole else words[strongest] or tokens[strongest],
                    "positions": [] if whole else position[start:end],
                    "values": [] if whole else value[start:end],
                }
            )
        record: HeadlineFeaturesDict = {
            "headline": block.first + row,
            "headline_id": block.ids[row],
            "features": fired,
        }
        yield orjson.dumps(record)
