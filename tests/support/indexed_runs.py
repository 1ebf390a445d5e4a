"""Runs with every optional file, and a client of the server on them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.compact_json import array as json_array
from sae_pipeline.runs.folders import Run, read_run
from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import Cell
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.controls import (
    Claim,
    Control,
    ControlsFile,
    ProbeScore,
    RivalName,
    Stability,
    Verdict,
)
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.explanations import EXPLANATIONS
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from tests.support.run_factory import D_IN, write_run
from viz_analysis.feature_probe_server import create_app

N, D_SAE = 60, 300
DECODER_ROWS = np.random.default_rng(0).normal(size=(D_SAE, D_IN)).astype(np.float16)


Effects = Mapping[int, Mapping[int, Sequence[float]]]
"""Effects [n_classes] of the features that headlines list: by headline, then by feature."""


def write_whole_run(
    analysis_dir: Path, columns: Mapping[str, Sequence[Cell]] | None = None, effects: Effects | None = None
) -> Path:
    """A run with every optional file, with `columns` like `write_run`, and with these `effects`."""
    run = write_run(analysis_dir, N, D_SAE, top=40, seed=3, decoder=DECODER_ROWS, columns=columns)
    add_evidence(run, {4: {}} if effects is None else effects)
    return run


def client_of(analysis_dir: Path) -> FlaskClient:
    return create_app(analysis_dir, viewer_dir=analysis_dir / "none").test_client()


def get(client: FlaskClient, address: str, **query: Any) -> Any:
    """The answer of an address; like the viewer, ask again while the run is being indexed."""
    while (response := client.get(f"/api/{address}", query_string=query or None)).status_code == 503:
        assert response.json["error"]["code"] == "indexing", response.text
    assert response.status_code == 200, response.text
    return response.json


def add_evidence(run: Path, effects: Effects) -> None:
    """The files that later verbs add to a run, as these write them."""
    chance, whole = np.random.default_rng(0), read_run(run)
    columns = {"feature": [3] * D_SAE, "cosine": [0.8] * D_SAE, "coactivation": [0.6] * D_SAE}
    members: list[dict[str, Any]] = [
        {"size": "8k", "sae_hash": sae, "seed": 0, "kind": "relu"} for sae in ("5ae", "other")
    ]
    members += [{"size": "32k", "sae_hash": f"seed{n}", "seed": n, "kind": "relu", "chance": 0.01} for n in (1, 2)]
    family = {**made_from(whole), "d_sae": D_SAE, "n_tokens": 99, "members": members}
    every = (1, 1, 2, 4)  # seed 1 finds every second feature again, seed 2 every fourth
    verdicts = [["match" if n % step == 0 else "absent" for n in range(D_SAE)] for step in every]
    family["matches"] = [{**columns, "verdict": verdict} for verdict in verdicts]
    add_file(whole, FAMILY, json.dumps(family).encode())
    add_file(whole, MAP, json.dumps(map_of(whole)).encode())
    add_file(whole, CONTRAST, json.dumps(contrast_of(whole)).encode())
    add_file(whole, MENDING, json.dumps(mending_of(whole)).encode())
    add_file(whole, CALIBRATION, json.dumps(calibration_of(whole)).encode())
    add_file(whole, DIFF, json.dumps(diff_of(whole)).encode())
    score = {"n": 20, "auroc": 0.75, "low": 0.5, "high": 0.9}
    said = {"feature": 3, "text": "news of İstanbul", "model": "m", "prompt_hash": "0", "detection": score}
    explained = {**made_from(whole), "explanations": [{**said, "fuzzing": None, "rule_detection": score}]}
    add_file(whole, EXPLANATIONS, json.dumps(explained).encode())
    metrics = [{"name": "effect_bullish", "label": "Bullish effect", "description": "Made up."}]
    values = chance.normal(size=D_SAE)
    column = {"name": "effect_bullish", "top": [values.argmax()], "values": values, "n": [7] * D_SAE}
    column |= {"low": [-1.0] * D_SAE, "high": [None] * D_SAE, "q": [0.5] * D_SAE}
    head = {**made_from(whole), "d_sae": D_SAE, "n_headlines": N, "metrics": metrics}
    add_file(whole, FEATURE_EFFECTS, b"".join(json_array(head, "columns", [column])))
    share = {"n_headlines": N, "accuracy_clean": 0.9, "accuracy_spliced": 0.9, "unchanged": 1.0, "mean_kl": 0.1}
    share |= {"cross_entropy_clean": 0.3, "cross_entropy_spliced": 0.3, "mean_absolute_delta_p": 0.1}
    head = {**made_from(whole), "device": "cpu", "seconds": 1.0, "config": {}, "completeness_gap": 0.1}
    head |= {"agreement": [], "faithfulness": {**share, "flips": [], "baselines": []}, "curves": []}
    head |= dict.fromkeys(("flips_searched", "flips_found", "repairs_searched", "repairs_found"), 0)
    head |= {"set_ablation": None}
    records = [headline_effects(run, n, listed) for n, listed in effects.items()]
    add_file(whole, INTERVENTIONS, b"".join(json_array(head, "headlines", records)))


def map_of(run: Run) -> dict[str, Any]:
    """A map: the live features on a line, in two regions with a gap between them."""
    live = [feature for feature, count in enumerate(run.feature_stats.headline_counts) if count]
    places = [round(n / len(live), 5) for n in range(len(live))]
    region = [0 if x < 0.6 else 1 if x > 0.7 else -1 for x in places]
    regions = [
        {"name": name, "words": [name, "more"], "n_features": region.count(n), "x": 0.3 + n / 2, "y": 0.5}
        for n, name in enumerate(("surge", "rates"))
    ]
    head = {**made_from(run), "d_sae": run.feature_stats.d_sae, "method": "a line", "seed": 0, "named_by": "hand"}
    return {**head, "features": live, "x": places, "y": [0.5] * len(live), "region": region, "regions": regions}


def contrast_of(run: Run) -> dict[str, Any]:
    """Two kinds of change: of one, headline 0 changes its prediction."""
    text, p = run.prompts[0].text, [0.8, 0.1, 0.1]
    shift = {"feature": 3, "word": "RT", "before": 0.0, "after": 2.0, "effects": [1.0, -0.5, -0.5]}
    pair = {"headline": 0, "before": text, "after": f"RT {text}", "before_spans": [], "after_spans": [[0, 3]]}
    pair |= {"target": None, "predictions": [1, 0], "probabilities": [p[::-1], p], "as_expected": False}
    moved = {"feature": 3, "word": "RT", "n_moved": 2, "n_switched": 2, "shift": 1.0, "effects": [1.0, -0.5, -0.5]}
    half = {"n": 2, "share": 0.5, "low": 0.1, "high": 0.9}
    kind = {"description": "Made up", "source": "headlines", "expectation": "same", "n_pairs": 2, "n_tested": 1}
    kind |= {"changed": half, "as_expected": half, "transitions": [[1, 0, 0], [1, 0, 0], [0, 0, 0]]}
    kind |= {"mean_shift": [0.7, 0.0, -0.7], "explained": [{"n_features": 1, "n_pairs": 1}]}
    kind |= {"features": [{**moved, "low": None, "high": None, "n_explained": 1}]}
    kind |= {"pairs": [{**pair, "features": [shift]}]}
    head = {**made_from(run), "device": "cpu", "seconds": 1.0, "config": {}, "labels": run.metadata.labels}
    kinds = [{**kind, "kind": name, "label": name.title()} for name in ("retweet", "source")]
    return {**head, "n_headlines": 2, "left_out": [], "kinds": kinds}


def mending_of(run: Run) -> dict[str, Any]:
    """One edit that was searched and kept, and one that was not; of four headlines it mends two and breaks none."""
    change = {"n_headlines": 4, "accuracy_before": 0.5, "accuracy_after": 1.0, "mended": 2, "made": 0}
    change |= {"macro_f1_before": 0.4, "macro_f1_after": 0.9, "interval": None, "mcnemar_p": 0.5}
    shares = dict.fromkeys(("recall_before", "recall_after", "precision_before", "precision_after"), 0.5)
    part = {"name": "with a number", "n_headlines": 2, "accuracy_before": 0.5, "accuracy_after": 1.0}
    step = {"factor": 0.0, "n_headlines": 5, "risk": 0.3, "stopping_risk": 0.35}
    return {
        **made_from(run),
        "device": "cpu",
        "seconds": 1.0,
        "config": {},
        "labels": run.metadata.labels,
        "verdict": "unproven",
        "n_search": 4,
        "n_search_errors": 2,
        "n_stopping": 2,
        "risk": 0.4,
        "stopping_risk": 0.4,
        "steps": [{**step, "feature": 3}, {**step, "feature": 5, "risk": 0.29, "stopping_risk": 0.36}],
        "edits": [{"feature": 3, "factor": 0.0}],
        "change": change,
        "classes": [{"label": label, "support": 1, **shares} for label in run.metadata.labels],
        "transitions": [[1, 0, 0], [1, 1, 0], [1, 0, 0]],
        "slices": [{**part, "mended": 1, "made": 0}],
        "random_sets": {"accuracy_changes": [0.0, -0.25, 0.5], "n_as_good": 1},
        "last_layer": {**change, "mended": 1, "made": 1, "accuracy_after": 0.5},
    }


def diff_of(run: Run) -> dict[str, Any]:
    """A feature that has grown and one that has faded, with a control."""
    labels, headline = run.metadata.labels, 4
    words = [n for n, word in enumerate(run.prompts[headline].words) if word >= 0]
    values = [0.5 * n for n in range(len(words))]
    feature = {
        "cosine": 0.4,
        "seed_growth": 0.1,
        "n_headlines": 12,
        "words": ["misses", "down"],
        "effects": [0.2, -0.1, -0.1][: len(labels)],
        "effects_before": None,
        "alike": 3,
        "alike_cosine": 0.8,
        "examples": [{"headline": headline, "positions": words, "before": values[::-1], "after": values}],
    }
    models = [("before", "minilm", None), ("after", "c1a", "c1a"), ("control", "0ther", "0ther")]
    share = {"accuracy_before": 0.9, "accuracy_after": 0.5, "changed": 0.4, "n_features": 1, "n_headlines": 4}
    counts = {"grown": 1, "faded": 1, "turned": 0}
    random_sets = {"random_accuracies": [0.9, 0.8], "random_changed": [0.0, 0.1], "random_contribution": 1.0}
    return {
        **made_from(run),
        "device": "cpu",
        "seconds": 1.0,
        "config": {},
        "labels": labels,
        "layer": 4,
        "positions": "words",
        "models": [
            {"role": role, "model": model, "classifier_hash": name, "accuracy": name and 0.9, "fvu": 0.1}
            for role, model, name in models
        ],
        "d_sae": 64,
        "k": 8,
        "n_vectors": 900,
        "n_headlines": N,
        "l0": 8.5,
        "n_live": 40,
        "counts": counts,
        "counts_control": {**counts, "grown": 0},
        "replication": {"n_after": 1, "n_control": 1, "n_both": 1, "expected": 0.025},
        "growth_edges": [-2.0, -1.0, 0.0, 1.0, 2.0],
        "growth": [1, 19, 19, 1],
        "growth_control": [0, 20, 20, 0],
        "sets": [{**share, "change": "grown", "role": role, **random_sets} for role in ("after", "control")],
        "features": [
            {**feature, "feature": 5, "change": "grown", "growth": 1.2, "control_growth": 0.9},
            {**feature, "feature": 6, "change": "faded", "growth": -1.1, "control_growth": -0.2},
        ],
    }


def calibration_of(run: Run) -> dict[str, Any]:
    """Probabilities that are too sure, and features that help to say when to abstain."""
    bins = [
        {"n_headlines": 2, "confidence": confidence, "accuracy": accuracy, "low": 0.1, "high": 1.0}
        for confidence, accuracy in ((0.6, 0.5), (0.95, 1.0))
    ]
    scores = {"confidence": 0.775, "nll": 0.6, "brier": 0.4, "ece": 0.2, "bins": bins}
    rates = {"confidence": [0.25, 0.1, 0.0], "features": [0.25, 0.2, 0.1], "both": [0.25, 0.0, 0.0]}
    beyond = {"confidence": None, "features": [-0.01, 0.05], "both": [-0.04, -0.01]}
    rankings = [
        {
            "signal": signal,
            "area": 0.1,
            "interval": [0.05, 0.2],
            "beyond_confidence": beyond[signal],
            "error_rates": one,
        }
        for signal, one in rates.items()
    ]
    return {
        **made_from(run),
        "device": "cpu",
        "seconds": 1.0,
        "config": {},
        "labels": run.metadata.labels,
        "n_fit": 4,
        "n_fit_errors": 2,
        "n_test": 4,
        "n_test_errors": 1,
        "temperature": 1.5,
        "before": scores,
        "after": {**scores, "ece": 0.1, "nll": 0.5},
        "n_compared": 40,
        "error_features": [{"feature": feature, "n_headlines": 3, "n_errors": 2, "p": 0.01} for feature in (3, 5)],
        "seeds": [1, 2],
        "n_unstable": 7,
        "coverages": [1.0, 0.9, 0.5],
        "rankings": rankings,
        "verdict": "helps",
    }


def headline_effects(run: Path, n: int, listed: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """A record of `interventions.json` about headline `n`, which lists features with these effects."""
    logits = [0.5, -0.25, -0.25]
    prompt = json.loads((run / "prompts.jsonl").read_bytes().splitlines()[n])
    record: dict[str, Any] = {"headline": n, "headline_id": prompt["headline_id"], "features": []}
    for feature, effects in listed.items():
        others = dict.fromkeys(("gradient_effects", "ablation_logits", "ablation_probabilities"), [0.0] * 3)
        one = {"feature": feature, "effects": list(effects), **others, "positions": [], "position_effects": []}
        record["features"].append(one)
    rest = [-sum(effects) for effects in zip(*listed.values(), strict=True)] or [0.0] * 3
    record |= {"logits": logits, "base": logits, "rest": rest, "flip": None, "repair": None}
    return record | {"spliced_prediction": 1, "spliced_delta_p": 0.1, "spliced_kl": 0.1}


def write_evidence(run: Path) -> ControlsFile:
    """What `compare` would find of the SAE of a run: words beat its best feature, neurons are not beaten with five."""
    about = read_run(run).metadata
    areas: dict[RivalName, list[float]] = {
        "sae": [0.8, 0.9, 0.95],
        "neurons": [0.7, 0.899, 0.9],
        "bag of words": [0.85],
    }
    controls = [
        Control(
            name=name,
            n_units=D_SAE,
            code=None if name == "bag of words" else about.sae.report.held_out,
            spliced=None,
            probing=[_probe_score(k, area) for k, area in zip((1, 5, None), found, strict=False)],
        )
        for name, found in areas.items()
    ]
    claims = [
        _claim("neurons", 1, 0.8, 0.7),
        _claim("neurons", 5, 0.9, 0.899),
        _claim("neurons", None, 0.95, 0.9),
        _claim("bag of words", 1, 0.8, 0.85),
    ]
    file = ControlsFile(
        schema_version=2,
        sae_hash=about.sae_hash,
        size=about.sae.size,
        seconds=1.0,
        controls=controls,
        stability=Stability(seeds=[0, 1], mean_cosine=0.8, matched_share=0.6, chance_cosine=0.1),
        claims=claims,
        n_test=N,
        n_resamples=1000,
    )
    path = run.parent.parent / "finbert_sae" / "evidence" / f"{about.sae_hash}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, file)
    return file


def _probe_score(k: int | None, area: float) -> ProbeScore:
    ends = area - 0.01, area + 0.01
    return ProbeScore(k=k, auroc=area, auroc_interval=ends, macro_f1=area, macro_f1_interval=ends, ridge=0.01)


def _claim(against: RivalName, k: int | None, sae: float, rival: float) -> Claim:
    gain = round(sae - rival, 4)
    interval = gain - 0.01, gain + 0.01
    verdict: Verdict = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "not better"
    return Claim(
        against=against,
        measure="auroc",
        k=k,
        rival_k=k,
        sae=sae,
        rival=rival,
        gain=gain,
        interval=interval,
        verdict=verdict,
        better_seeds=1,
        sentence=f"The SAE with {k} is {verdict} than {against}.",
    )
