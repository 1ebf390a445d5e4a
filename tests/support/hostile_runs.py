"""Runs whose every word was chosen to harm a page that shows it, for the browser tests.

`python -m tests.support.hostile_runs FOLDER` writes two valid runs with causal findings and human labels into FOLDER.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.labels import FeatureLabel
from tests.support import indexed_runs, run_factory
from viz_analysis.runs.labels import LabelStore
from viz_analysis.runs.sources import RunFolder

HACK = "window.hacked=1;alert(1)"
HOSTILE = [
    f'<img src=x onerror="{HACK}">',
    f"</script><script>{HACK}</script>",
    f"<svg/onload={HACK}>",
    f'"><iframe srcdoc="<script>parent.{HACK}</script>"></iframe>',
    f"<a href='javascript:{HACK}' autofocus onfocus={HACK}>",
    f"${{{HACK}}}",
    f'{{{{constructor.constructor("{HACK}")()}}}}',
    "\u202eesrever\u202c \u2066isolated",
    "\u200b\u200d\u2060\ufeff\u00ad",
    "Z\u0335\u0321\u0489" + "\u0489\u0336" * 60,
    "👩‍👩‍👧‍👦🇺🇸🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "שלום עולם",
    "\0\x07\x1b[31m\x85",
    "&lt;b&gt;&#x3c;&amp;",
    "__proto__",
    "x" * 5_000,
]
LABELS = [HOSTILE[0], "\u202e" + HOSTILE[5], "N" * 200]
METRICS = ["mean_activation", "max_activation", "fraction_active", HOSTILE[1], "constructor", "m" * 64]


def write_hostile_runs(folder: Path) -> None:
    """Write the runs and the labels into a folder of runs."""
    cells = [_word(n) for n in range(len(HOSTILE))]
    columns = dict.fromkeys(HOSTILE, cells)
    with (
        patch.object(run_factory, "WORDS", HOSTILE),
        patch.object(run_factory, "LABELS", LABELS),
        patch.object(run_factory, "METRICS", METRICS),
        patch.object(indexed_runs, "headline_effects", _effects),
    ):
        for _ in range(2):
            run = read_run(indexed_runs.write_whole_run(folder, columns))
    labels = {
        feature: FeatureLabel(name=_word(feature)[:120], note=(_word(feature + 1) + "\n") * 3, starred=feature % 2 == 0)
        for feature in range(run.metadata.sae.d_sae)
    }
    LabelStore(RunFolder(folder)).put(run.metadata.sae_hash, labels, run.metadata.sae.d_sae, None)


def _word(n: int) -> str:
    return HOSTILE[n % len(HOSTILE)][:1_000]


def _effects(run: Path, n: int, listed: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """The causes of a prediction: one feature, which flips it."""
    record = _plain_effects(run, n, listed)
    fired = json.loads((run / "headline_features.json").read_text())["headlines"][n]["features"][0]
    prediction = json.loads((run / "prompts.jsonl").read_bytes().splitlines()[n])["prediction"]
    effects = [0.25, 0.25, -0.5]
    record["features"] = [
        {
            "feature": fired["feature"],
            "effects": effects,
            "gradient_effects": effects,
            "ablation_logits": effects,
            "ablation_probabilities": [0.1, 0.1, -0.2],
            "positions": fired["positions"],
            "position_effects": [effects[prediction] / len(fired["positions"])] * len(fired["positions"]),
        }
    ]
    record["rest"] = [-effect for effect in effects]
    after = (prediction + 1) % 3
    path = [[0.1] * 3, [0.1] * 3]
    path[0][prediction] = path[1][after] = 0.8
    record["flip"] = {"features": [fired["feature"]], "prediction": after, "path": path}
    return record


_plain_effects = indexed_runs.headline_effects

if __name__ == "__main__":
    write_hostile_runs(Path(sys.argv[1]))
