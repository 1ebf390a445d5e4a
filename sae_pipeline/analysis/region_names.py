"""Names for the regions of a map: words on which their features fire, the most central first.

Candidates are words on which the region's features fire more often than others do, by log-odds with a prior (Monroe et
al. 2008). Of these, the words whose sentence vectors are nearest to the mean of the region's features come first.
Without the sentence encoder the order of the log-odds stays. Names write words as the headlines do.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sae_pipeline.analysis.layout import Regions
from sae_pipeline.analysis.meaning import Encoder, Meaning
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.naming.rules import log_odds
from sae_pipeline.schema.map import MapRegion

_IN_NAME = 3
_KEPT = 8  # words of a region
_CANDIDATES = 24
_LEAST = 1.0  # standard errors above the other features


def named_regions(
    places: Floats,
    regions: Regions,
    words: Sequence[Sequence[str]],
    features: Ints,
    meaning: Meaning | None,
    encoder: Encoder | None,
    written: Iterable[str],
) -> list[MapRegion]:
    """The record of each region. `places` [n, 2], `words` and `features` have an entry for each feature on the map.

    `written` are the words of all headlines, as written.
    """
    spelling = _spelling(written, words)
    everywhere = Counter(word for found in words for word in found)
    records = []
    for number in range(regions.n):
        inside = np.flatnonzero(regions.of_feature == number)
        own = Counter(word for feature in inside.tolist() for word in words[feature])
        named = _candidates(own, everywhere)
        if meaning is not None and encoder is not None:
            named = _most_central(named, features[inside], meaning, encoder)
        named = [" ".join(spelling.get(part, part) for part in word.split()) for word in named[:_KEPT]]
        records.append(
            MapRegion(
                name=", ".join(named[:_IN_NAME])[:200],
                words=[word[:200] for word in named],
                n_features=len(inside),
                x=float(np.median(places[inside, 0])),
                y=float(np.median(places[inside, 1])),
            )
        )
    return records


def _spelling(written: Iterable[str], words: Sequence[Sequence[str]]) -> dict[str, str]:
    """How the headlines write each of the features' words; in lower case where they ever do, as found names have it."""
    wanted = {part for found in words for word in found for part in word.split()}
    ways = Counter(word for word in written if word.casefold() in wanted)
    return {way.casefold(): way for way in sorted(ways, key=lambda way: (way == way.casefold(), ways[way], way))}


def _candidates(own: Counter[str], everywhere: Counter[str]) -> list[str]:
    """The words of a region by how many standard errors their log-odds are above those of the other features."""
    n_own = own.total()
    words = [word for word in own if any(map(str.isalnum, word)) and own[word] < n_own]
    here, all_ = (np.array([counts[word] for word in words], np.float64) for counts in (own, everywhere))
    odds = log_odds(here, np.full(len(words), float(n_own)), all_, everywhere.total()).tolist()
    scored = sorted((-score, word) for word, score in zip(words, odds, strict=True) if score > _LEAST)
    return [word for _, word in scored[:_CANDIDATES]]


def _most_central(named: list[str], features: Ints, meaning: Meaning, encoder: Encoder) -> list[str]:
    """The words by the cosine of their vectors with the mean of the features' vectors."""
    middle = meaning.features[features].astype(np.float32).mean(0)
    if not named or not middle.any():
        return named
    alike = meaning.centred(encoder.encode(named)) @ middle
    return [named[place] for place in np.argsort(-alike, kind="stable")]
