"""In how many other seeds features are found, in every answer that says so; and what an SAE is held against."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.controls import ControlsFile
from tests.support.indexed_runs import D_SAE, client_of, get, write_evidence, write_whole_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose features seed 1 finds again if they are even, and seed 2 if they are multiples of four."""
    return write_whole_run(tmp_path / "analysis_data")


@pytest.fixture
def found_client(run: Path) -> FlaskClient:
    return client_of(run.parent)


def test_a_metric_and_a_filter(found_client: FlaskClient) -> None:
    """Sorted by the count, ties by number; the filter keeps those with at least so many."""
    page = get(found_client, "features", metric="found_in_seeds", limit=500)
    values = {row["feature"]: row["values"]["found_in_seeds"] for row in page["features"]}
    assert values == {n: (n % 2 == 0) + (n % 4 == 0) for n in range(D_SAE)}
    assert list(values) == sorted(values, key=lambda n: (-values[n], n))
    described = next(one for one in page["metrics"] if one["name"] == "found_in_seeds")
    assert "2 trainings with other seeds (1, 2)" in described["description"]
    for least, step in ((0, 1), (1, 2), (2, 4)):
        kept = get(found_client, "features", min_seeds=least, limit=500)["features"]
        assert sorted(row["feature"] for row in kept) == list(range(0, D_SAE, step))
    assert get(found_client, "features", min_seeds=3)["total"] == 0
    answer = found_client.get("/api/features?min_seeds=-1")
    assert answer.status_code == 400


def test_sums_card_and_map(found_client: FlaskClient, run: Path) -> None:
    """The run's answer counts live features alone; a card says it of its feature; the map colours by the share."""
    live = [n for n, count in enumerate(read_run(run).feature_stats.headline_counts) if count]
    stability = get(found_client, "run")["stability"]
    times = [(n % 2 == 0) + (n % 4 == 0) for n in live]
    assert stability["seeds"] == [1, 2] and stability["found"] == [times.count(n) for n in range(3)]
    assert stability["share"] == pytest.approx(times.count(2) / len(live))
    assert stability["low"] < stability["share"] < stability["high"]
    assert stability["chance"] == pytest.approx(0.01)
    feature = next(n for n in live if n % 4 == 2)
    card = get(found_client, "feature_card", id=feature)
    assert card["summary"].endswith("Found in 1 of 2 other seeds.") and card["summary"] in card["html"]
    said = next(one for one in card["sections"] if one["title"] == "Stability")["sentences"]
    assert any("Found in 1 of 2 other seeds" in one and "1.0 % of random directions are found" in one for one in said)
    column = next(one for one in get(found_client, "map")["columns"] if one["name"] == "stability")
    assert column["values"] == [n / 2 for n in times]


def test_a_run_that_was_not_compared(found_client: FlaskClient, run: Path) -> None:
    """Without `family.json` no feature is found in any seed; the card names the command."""
    (run / "family.json").unlink()
    client = client_of(run.parent)
    assert get(client, "run")["stability"] is None
    assert get(client, "features", min_seeds=0)["total"] == D_SAE
    assert get(client, "features", min_seeds=1)["total"] == 0
    card = get(client, "feature_card", id=3)
    said = next(one for one in card["sections"] if one["title"] == "Stability")["sentences"]
    assert any("family --run run-001 --seeds 0,1,2 does so" in one for one in said)


def test_evidence(found_client: FlaskClient, run: Path) -> None:
    """404 with the command; then the file, also one of an earlier version; damaged, a sentence again."""
    missing = found_client.get("/api/evidence")
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "no_evidence")
    assert "`python -m sae_pipeline compare --sae-size 32k` trains them" in missing.json["error"]["message"]
    whole = write_evidence(run)
    assert get(found_client, "evidence") == whole.model_dump(mode="json")
    rivals = next(one for one in get(found_client, "feature_card", id=3)["sections"] if one["title"] == "Baselines")
    assert "This claim fails: The SAE with 1 is worse than bag of words." in rivals["sentences"]
    assert not any("neurons" in sentence for sentence in rivals["sentences"])  # that claim with one unit holds
    path = run.parent.parent / "finbert_sae" / "evidence" / "5ae.json"
    older = json.loads(path.read_bytes())
    for name in ("claims", "seeds", "n_test", "n_resamples"):
        del older[name]
    older["controls"] = [{**one, "probing": [{"k": 1, "auroc": 0.75}]} for one in older["controls"][:2]]
    for one in older["controls"]:
        del one["n_units"], one["fvu_interval"]
    older.pop("checksum")
    write_record(path, ControlsFile.model_validate(older))  # as an earlier version wrote it
    assert get(found_client, "evidence")["claims"] == []
    path.write_bytes(path.read_bytes()[:-9])
    damaged = found_client.get("/api/evidence")
    assert damaged.status_code == 404 and "makes it again" in damaged.json["error"]["message"]
