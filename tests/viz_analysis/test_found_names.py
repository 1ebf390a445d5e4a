"""Found names in the server's answers: beside every feature, searched, and below the names that people give."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import read_run
from tests.support.indexed_runs import D_SAE, client_of, get, write_whole_run
from tests.support.run_factory import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("analysis_data")
    write_whole_run(root)
    yield root


@pytest.fixture(scope="module")
def client(folder: Path) -> FlaskClient:
    return client_of(folder)


def test_a_name_stands_wherever_a_feature_is_summarised(folder: Path, client: FlaskClient) -> None:
    named = {f: one.name for f, one in read_run(max(folder.glob("*_run-*"))).found_names.items() if one.name}
    score = {"score": 0.8125, "low": 0.7, "high": 0.9}
    rows = get(client, "features", limit=D_SAE)["features"]
    assert {row["feature"]: row["found_name"] and row["found_name"]["text"] for row in rows} == {
        row["feature"]: named.get(row["feature"]) for row in rows
    }
    for row in get(client, "headlines", limit=60)["headlines"]:
        fired = {one["feature"] for one in row["features"]}
        assert row["found_names"] == {str(f): {"text": named[f], **score} for f in sorted(fired & named.keys())}
    info = get(client, "feature_info", id=3)
    assert info["found_name"] == {"text": named[3], **score} and info["naming"]["rule"][0]["value"] == "word3"
    assert {one["feature"]: one["found_name"] and one["found_name"]["text"] for one in info["similar_decoder"]} == {
        4: named.get(4),
        5: named.get(5),
    }
    assert get(client, "run")["names"]["least_score"] == 0.7


def test_names_and_explanations_are_searched_in_any_case(client: FlaskClient) -> None:
    assert {row["feature"] % 3 for row in get(client, "features", q="STRASSE <B>3", limit=500)["features"]} == {0}
    assert [row["feature"] for row in get(client, "features", q="istanbul")["features"]] == []  # İ folds to i and a dot
    assert [row["feature"] for row in get(client, "features", q="News of İ")["features"]] == [3]
    assert get(client, "features", q="word4")["total"] == 0  # the rule of a feature without a name


def test_a_run_without_names_answers_as_before(tmp_path: Path) -> None:
    write_run(tmp_path, 20, 40)
    client = client_of(tmp_path)
    assert get(client, "run")["names"] is None and get(client, "run")["damaged_files"] == []
    assert {row["found_name"] for row in get(client, "features")["features"]} == {None}
    info = get(client, "feature_info", id=1)
    assert info["found_name"] is info["naming"] is info["explanation"] is None
    assert all(row["found_names"] == {} for row in get(client, "headlines")["headlines"])


def test_ten_thousand_labels_with_unknown_numbers_and_html_are_refused_or_kept_whole(folder: Path) -> None:
    client = client_of(folder)
    etag = get(client, "labels")["etag"]
    many = {str(n): {"name": f"<script>alert({n})</script>"} for n in range(10_000)}
    refused = client.put("/api/labels", json={"labels": many}, headers={"If-Match": f'"{etag}"'})
    assert refused.status_code == 400
    assert refused.json["error"]["message"] == f"There is no feature 9999: this SAE has features 0 to {D_SAE - 1}."
    assert get(client, "labels")["labels"] == {}
    known = {n: label for n, label in many.items() if int(n) < D_SAE}
    kept = client.put("/api/labels", json={"labels": known}, headers={"If-Match": f'"{etag}"'})
    assert kept.status_code == 200 and len(kept.json["labels"]) == D_SAE
    assert kept.json["labels"]["7"]["name"] == "<script>alert(7)</script>"
    assert get(client, "features", q="alert(7)")["total"] == 1
