"""Runs with every optional file, and a client of the server on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient
from safetensors.numpy import save_file

from sae_pipeline.runs.compact_json import array as json_array
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from viz_analysis.feature_probe_server import create_app

N, D_SAE = 60, 300


def client_of(analysis_dir: Path) -> FlaskClient:
    return create_app(analysis_dir, viewer_dir=analysis_dir / "none").test_client()


def get(client: FlaskClient, address: str, **query: Any) -> Any:
    response = client.get(f"/api/{address}", query_string=query or None)
    assert response.status_code == 200, response.text
    return response.json


def add_evidence(run: Path) -> None:
    """neighbours.json, decoder.safetensors, feature_effects.json and interventions.json, as later stages write them."""
    chance = np.random.default_rng(0)
    near = [[(feature + 1) % D_SAE, (feature + 2) % D_SAE] for feature in range(D_SAE)]
    lists = {"by_decoder": near, "decoder_cosine": [[0.9, 0.5]] * D_SAE, "by_cofiring": near[::-1]}
    neighbours = {"d_sae": D_SAE, "k": 2, "n_headlines": N, **lists, "cofiring": [[0.4, 0.1]] * D_SAE}
    (run / NEIGHBOURS).write_text(json.dumps(neighbours))
    save_file({"W_dec": chance.normal(size=(D_SAE, 16)).astype(np.float16)}, run / DECODER)
    columns = {"feature": [3] * D_SAE, "cosine": [0.8] * D_SAE, "coactivation": [0.6] * D_SAE}
    members = [{"size": "8k", "sae_hash": sae, "seed": 0, "kind": "relu"} for sae in ("5ae", "other")]
    family = {"schema_version": 1, "sae_hash": "5ae", "d_sae": D_SAE, "n_tokens": 99, "members": members}
    family["matches"] = [{**columns, "verdict": ["match"] * D_SAE}] * 2
    (run / FAMILY).write_text(json.dumps(family))
    ids = {"schema_version": 1, "run_id": "run-001", "sae_hash": "5ae", "classifier_hash": "c1a551f1e4"}
    metrics = [{"name": "effect_bullish", "label": "Bullish effect", "description": "Made up."}]
    column = {"name": "effect_bullish", "top": [1], "values": chance.normal(size=D_SAE), "n": [7] * D_SAE}
    column |= {"low": [-1.0] * D_SAE, "high": [None] * D_SAE, "q": [0.5] * D_SAE}
    head = {**ids, "d_sae": D_SAE, "n_headlines": N, "metrics": metrics}
    (run / FEATURE_EFFECTS).write_bytes(b"".join(json_array(head, "columns", [column])))
    share = {"n_headlines": N, "accuracy_clean": 0.9, "accuracy_spliced": 0.9, "unchanged": 1.0, "mean_kl": 0.1}
    share |= {"cross_entropy_clean": 0.3, "cross_entropy_spliced": 0.3, "mean_absolute_delta_p": 0.1}
    head = {**ids, "device": "cpu", "seconds": 1.0, "config": {}, "completeness_gap": 0.1, "agreement": []}
    head |= {"faithfulness": {**share, "flips": [], "baselines": []}, "curves": [], "set_ablation": None}
    head |= dict.fromkeys(("flips_searched", "flips_found", "repairs_searched", "repairs_found"), 0)
    (run / INTERVENTIONS).write_bytes(b"".join(json_array(head, "headlines", [headline_effects(run, 4)])))


def headline_effects(run: Path, n: int) -> dict[str, Any]:
    """A record of `interventions.json` about headline `n`."""
    three = [0.5, -0.25, -0.25]
    prompt = json.loads((run / "prompts.jsonl").read_text().splitlines()[n])
    record: dict[str, Any] = {"headline": n, "headline_id": prompt["headline_id"], "features": []}
    record |= {"logits": three, "base": three, "rest": three, "flip": None, "repair": None}
    return record | {"spliced_prediction": 1, "spliced_delta_p": 0.1, "spliced_kl": 0.1}
