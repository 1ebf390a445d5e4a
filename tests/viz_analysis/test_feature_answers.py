"""/api/features and /api/feature_info: search, order, and all that is known of a feature."""

from pathlib import Path

import numpy as np
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import Run, read_run
from tests.support.api_client import get
from tests.support.run_factory import METRICS, write_run
from tests.viz_analysis.conftest import D_SAE, TOP
from viz_analysis.feature_probe_server import create_app


def test_a_feature_is_found_in_its_list_with_its_neighbours(client: FlaskClient) -> None:
    ask = "/api/features?metric=kurtosis&support=live"
    listed = [row["feature"] for row in get(client, f"{ask}&limit=40")["features"]]
    for place in (0, 1, 17, 38):
        page = get(client, f"{ask}&around={listed[place]}&limit=3")
        assert page["place"] == place and page["offset"] == max(0, place - 1)
        assert [row["feature"] for row in page["features"]] == listed[page["offset"] :][:3]
    dead = get(client, "/api/features?support=dead&limit=1")["features"][0]["feature"]
    assert get(client, f"{ask}&around={dead}")["place"] is None


def test_features_come_in_descending_order_of_any_metric(client: FlaskClient, run: Run) -> None:
    assert get(client, "/api/features")["metric"] == METRICS[0]
    for column in run.feature_stats.metrics:
        page = get(client, f"/api/features?metric={column.name}&limit={TOP}")
        assert [row["feature"] for row in page["features"]] == column.top
        assert [metric["name"] for metric in page["metrics"]] == METRICS
        assert page["total"] == page["n_features"] == D_SAE
        for row in page["features"]:
            assert row["values"] == {c.name: c.values[row["feature"]] for c in run.feature_stats.metrics}
            assert row["n_headlines"] == run.feature_stats.headline_counts[row["feature"]]
            assert row["has_examples"] and row["word"]


def test_digits_find_features_by_id_among_all(client: FlaskClient, run: Run) -> None:
    page = get(client, "/api/features?q=12&limit=500&metric=kurtosis")
    found = [row["feature"] for row in page["features"]]
    assert found[0] == 12 and page["n_exact"] == 1
    assert sorted(found) == sorted(n for n in range(D_SAE) if str(n).startswith("12"))
    kurtosis = np.array(run.feature_stats.metrics[-1].values)
    assert (np.diff(kurtosis[found[1:]]) <= 0).all()
    assert get(client, "/api/features?q=0")["total"] == 1
    assert get(client, "/api/features?q=007")["features"][0]["feature"] == 7
    assert get(client, f"/api/features?q={'9' * 200}")["total"] == 0
    without = next(n for n in range(D_SAE) if n not in {f.feature for f in run.feature_tokens.features})
    (row,) = get(client, f"/api/features?q={without}&limit=1")["features"]
    assert row["feature"] == without and row["word"] is None and not row["has_examples"]


def test_features_that_fire_on_just_the_word_come_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path, n_headlines=12, d_sae=64, top=64, seed=4)
    words = {
        saved.feature: {example.word for example in saved.examples}
        for saved in read_run(folder).feature_tokens.features
    }
    client = create_app(tmp_path).test_client()
    begun = get(client, "/api/features?token=s&limit=500")
    assert begun["n_exact"] == 0 and begun["total"] > 0
    page = get(client, "/api/features?token=surge&limit=500")
    found = [row["feature"] for row in page["features"]]
    assert set(found) == {feature for feature, fired in words.items() if "surge" in fired}
    assert page["n_exact"] == page["total"] == len(found) > 0
    first = get(client, f"/api/features?token=surge&q={found[-1]}&limit=500")
    assert first["features"][0]["feature"] == found[-1] and first["n_exact"] == first["total"]


def test_text_finds_features_by_word(client: FlaskClient, run: Run) -> None:
    words = {saved.feature: saved.word for saved in run.feature_tokens.features}
    page = get(client, "/api/features?q=SU&limit=500")
    expected = {feature for feature, word in words.items() if "su" in word.lower()}
    assert {row["feature"] for row in page["features"]} == expected != set()
    corp = get(client, "/api/features?q=%C3%89%E2%82%AC&limit=500")  # É€ finds é€𝄞Corp
    assert {row["word"] for row in corp["features"]} <= {"é€𝄞Corp"}


def test_feature_info_holds_everything_the_run_knows(client: FlaskClient, run: Run) -> None:
    saved = run.feature_tokens.features[3]
    info = get(client, f"/api/feature_info?id={saved.feature}")
    assert info["word"] == saved.word and info["examples_saved"] and info["message"] is None
    assert info["histogram"] == {"edges": run.feature_tokens.histogram_edges, "counts": saved.histogram}
    for shown, example in zip(info["examples"], saved.examples, strict=True):
        assert shown.pop("prompt") == run.prompts[example.headline].model_dump()
        assert shown == example.model_dump()
    for stat, column in zip(info["stats"], run.feature_stats.metrics, strict=True):
        assert stat["name"] == column.name and stat["value"] == column.values[saved.feature]
        ties_before = [v for v in column.values[: saved.feature] if v == stat["value"]]
        assert stat["rank"] == 1 + sum(v > stat["value"] for v in column.values) + len(ties_before)


def test_a_feature_without_examples_says_why(client: FlaskClient, run: Run) -> None:
    saved = {feature.feature for feature in run.feature_tokens.features}
    counts = run.feature_stats.headline_counts
    firing = next(n for n in range(D_SAE) if n not in saved and counts[n] > 0)
    silent = next(n for n in range(D_SAE) if n not in saved and counts[n] == 0)
    info = get(client, f"/api/feature_info?id={firing}")
    assert not info["examples_saved"] and info["examples"] == [] and info["histogram"] is None
    assert len(info["stats"]) == len(METRICS) and info["n_headlines"] == counts[firing]
    assert "not saved" in info["message"] and "TOP_FEATURES" in info["message"]
    assert "none of this run's 40 headlines" in get(client, f"/api/feature_info?id={silent}")["message"]
