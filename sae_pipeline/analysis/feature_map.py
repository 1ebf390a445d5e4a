"""The map of a run's features: where each lies, which regions there are, and what these are called."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import orjson
import torch
from tqdm.auto import tqdm

from sae_pipeline.analysis import layout
from sae_pipeline.analysis.meaning import Encoder, Meaning, list_spans
from sae_pipeline.analysis.region_names import named_regions
from sae_pipeline.arrays import Ints
from sae_pipeline.naming.sample import read_words
from sae_pipeline.runs.added_files import made_from
from sae_pipeline.runs.decoder import decoder_blocks
from sae_pipeline.runs.folders import Run
from sae_pipeline.runs.run_files import DamagedRunError
from sae_pipeline.schema.map import MapFile

_WORDS = 6  # of a feature's examples
_EXAMPLES = 3  # whose words a feature of whole headlines gets
_KINDS = ("word", "phrase", "lexicon")  # the rules that name words
_BY_WORDS = "log-odds of the words on which a region's features fire against those of all features"


def feature_map(run: Run, seed: int, meaning: Meaning | None, encoder: Encoder | None) -> MapFile:
    """The content of `map.json`. Without `meaning` and `encoder`, regions are named by word counts alone.

    Raises DamageError for decoder rows that cannot be read.
    """
    stats = run.feature_stats
    live = np.flatnonzero(np.array(stats.headline_counts))
    rows = torch.from_numpy(np.concatenate([*decoder_blocks(run.folder, stats.d_sae)])[live])
    firing = _firing_together(run, live)
    places = layout.place(rows, firing, seed).round(5)
    found = layout.regions(places)
    words = _words(run)
    written = chain.from_iterable(map(read_words, run.prompts))
    records = named_regions(
        places, found, [words.get(one, []) for one in live.tolist()], live, meaning, encoder, written
    )
    return MapFile(
        **made_from(run),
        d_sae=stats.d_sae,
        method=layout.method(len(live), firing is not None),
        seed=seed,
        named_by=_BY_WORDS if meaning is None else f"{_BY_WORDS}, ordered by the sentence encoder",
        features=live.tolist(),
        x=places[:, 0].tolist(),
        y=places[:, 1].tolist(),
        region=found.of_feature.tolist(),
        regions=records,
    )


def _firing_together(run: Run, live: Ints) -> layout.Pairs | None:
    """The pairs of live features in `neighbours.json`, by their places in `live`; None where the run lacks the file."""
    near = None
    with _unless_damaged():
        near = run.neighbours
    if near is None:
        return None
    place = np.full(near.d_sae, -1)
    place[live] = np.arange(len(live))
    one = np.repeat(np.arange(near.d_sae), [len(others) for others in near.by_cofiring])
    other = np.array([feature for others in near.by_cofiring for feature in others], np.int64)
    jaccard = np.array([number for numbers in near.cofiring for number in numbers], np.float64)
    kept = (place[one] >= 0) & (place[other] >= 0)
    return layout.Pairs(place[one[kept]], place[other[kept]], jaccard[kept])


def _words(run: Run) -> dict[int, list[str]]:
    """The words of each feature: those of its name's rule, then those on which it fires, most characteristic first.

    A feature that fires on headlines as a whole has the words of its strongest examples.
    """
    found: dict[int, list[str]] = {}
    with _unless_damaged():
        for feature, named in run.found_names.items():
            found[feature] = [one.value for one in named.rule if one.kind in _KINDS]
    for span in list_spans(run.folder):
        saved = orjson.loads(span)
        words = [one["word"] for one in saved["words"][:_WORDS]] or [saved["word"].casefold()]
        if not saved["word"]:
            strongest = (run.prompts[example["headline"]] for example in saved["examples"][:_EXAMPLES])
            words = [word.casefold() for prompt in strongest for word in read_words(prompt)]
        found[saved["feature"]] = list(dict.fromkeys([*found.get(saved["feature"], ()), *words]))
    return found


@contextmanager
def _unless_damaged() -> Iterator[None]:
    """Go on without a file that the analysis wrote and that is damaged, and name it."""
    try:
        yield
    except DamagedRunError as error:
        tqdm.write(f"The map is made without this file: {error.what}.")
