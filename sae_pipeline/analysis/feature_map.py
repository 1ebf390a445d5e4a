"""The map of a run's features: where each lies, which regions there are, and what these are called."""

from pathlib import Path

import numpy as np
import orjson
import torch

from sae_pipeline.analysis import layout
from sae_pipeline.analysis.meaning import Encoder, Meaning, list_spans
from sae_pipeline.analysis.region_names import named_regions
from sae_pipeline.runs.added_files import made_from
from sae_pipeline.runs.decoder import decoder_blocks
from sae_pipeline.runs.folders import Run
from sae_pipeline.schema.map import MapFile

_WORDS = 6  # of a feature
_BY_WORDS = "log-odds of the words on which a region's features fire against those of all features"


def feature_map(run: Run, seed: int, meaning: Meaning | None, encoder: Encoder | None) -> MapFile:
    """The content of `map.json`. Without `meaning` and `encoder`, regions are named by word counts alone.

    Raises UserError where openTSNE is not installed, and DamageError for decoder rows that cannot be read.
    """
    stats = run.feature_stats
    live = np.flatnonzero(np.array(stats.headline_counts))
    rows = torch.from_numpy(np.concatenate([*decoder_blocks(run.folder, stats.d_sae)])[live])
    places = layout.place(rows, seed).round(5)
    found = layout.regions(places)
    words = _words(run.folder)
    records = named_regions(places, found, [words.get(one, []) for one in live.tolist()], live, meaning, encoder)
    return MapFile(
        **made_from(run),
        d_sae=stats.d_sae,
        method=layout.method(),
        seed=seed,
        named_by=_BY_WORDS if meaning is None else f"{_BY_WORDS}, ordered by the sentence encoder",
        features=live.tolist(),
        x=places[:, 0].tolist(),
        y=places[:, 1].tolist(),
        region=found.of_feature.tolist(),
        regions=records,
    )


def _words(folder: Path) -> dict[int, list[str]]:
    """The words of each feature with examples, most characteristic first."""
    found = {}
    for span in list_spans(folder):
        saved = orjson.loads(span)
        words = [one["word"] for one in saved["words"][:_WORDS]] or [saved["word"].casefold()]
        found[int(saved["feature"])] = words
    return found
