"""Named sets of features over HTTP: kept with the labels, as a filter, and followed into other SAEs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.schema.family import FAMILY
from tests.support.indexed_runs import D_SAE, client_of, get, write_whole_run
from tests.support.run_factory import write_run

FILE = Path("labels") / "5ae.json"
CHOSEN = [2, 3, 8, 250]


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    """A server of one run with every optional file."""
    write_whole_run(tmp_path)
    return client_of(tmp_path)


def put(client: FlaskClient, sets: Any, **more: Any) -> TestResponse:
    """Replace the sets; `more` may have labels, and an ETag."""
    etag = more.pop("etag", "*")
    body = {"labels": {}, "sets": sets, **more}
    return client.put("/api/labels", json=body, headers={"If-Match": etag})


def sentence(response: TestResponse, status: int) -> str:
    """The message of an error."""
    assert response.status_code == status, response.text
    return str(response.json["error"]["message"])


def test_sets_are_kept_with_the_labels(client: FlaskClient, tmp_path: Path) -> None:
    """They are read by every server, and stay where a change of labels leaves them out."""
    assert get(client, "labels")["sets"] == {}
    saved = put(client, {"rates": {"features": [8, 3, 8, 2], "note": " why\nso "}, "Kühe & 牛": {"features": [1]}})
    assert list(saved.json["sets"]) == ["Kühe & 牛", "rates"]
    rates = saved.json["sets"]["rates"]
    assert rates.pop("updated_at").endswith("+00:00")
    assert rates == {"features": [2, 3, 8], "note": "why\nso"}
    assert get(client_of(tmp_path), "labels") == saved.json
    for left_out in ({"labels": {"7": {"name": "x"}}}, {"labels": {"7": {"name": "y"}}, "sets": None}):
        after = client.put("/api/labels", json=left_out, headers={"If-Match": "*"})
        assert after.json["sets"] == saved.json["sets"]
        assert after.json["etag"] != saved.json["etag"]
    assert put(client, {}, labels={"7": {"name": "y"}}).json["sets"] == {}


def test_an_unchanged_set_keeps_its_time(client: FlaskClient, tmp_path: Path) -> None:
    """A change by a client that has read something else is refused."""
    first = put(client, {"a": {"features": [1]}, "b": {"features": [2]}}).json
    file = json.loads((tmp_path / FILE).read_text())
    for one in file["sets"].values():
        one["updated_at"] = "2001-01-01T00:00:00+00:00"
    del file["checksum"]
    (tmp_path / FILE).write_text(json.dumps(file))
    seen = get(client, "labels")
    assert sentence(put(client, {}, etag=f'"{first["etag"]}"'), 412).endswith("read them again.")
    after = put(client, {"a": {"features": [1]}, "b": {"features": [2, 3]}}, etag=f'"{seen["etag"]}"').json["sets"]
    assert after["a"]["updated_at"].startswith("2001")
    assert not after["b"]["updated_at"].startswith("2001")


def test_a_file_without_sets_stays_valid(client: FlaskClient, tmp_path: Path) -> None:
    """It is one of an earlier version, or written by hand."""
    (tmp_path / "labels").mkdir()
    (tmp_path / FILE).write_text('{"sae_hash": "5ae", "labels": {"1": {"name": "one"}}}')
    answer = get(client, "labels")
    assert (answer["labels"]["1"]["name"], answer["sets"]) == ("one", {})


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"a": {"features": []}}, "at least 1 item"),
        ({"a": {"features": list(range(1001))}}, "at most 1000 items"),
        ({"a": {"features": [-1]}}, "greater than or equal to 0"),
        ({"a": {"features": [1, D_SAE]}}, f"There is no feature {D_SAE}: this SAE has features 0 to {D_SAE - 1}."),
        ({"a": {"features": ["one"]}}, "valid integer"),
        ({"a": {}}, "Field required"),
        ({"a": {"features": [1], "colour": "red"}}, "not permitted"),
        ({"a": {"features": [1], "note": "x" * 4001}}, "at most 4000 characters"),
        ({"": {"features": [1]}}, "at least 1 character"),
        ({" a": {"features": [1]}}, "one line"),
        ({"a\nb": {"features": [1]}}, "one line"),
        ({"x" * 121: {"features": [1]}}, "at most 120 characters"),
        ({f"set {n}": {"features": [1]} for n in range(201)}, "at most 200 items"),
        ([], "valid dictionary"),
    ],
)
def test_bad_sets_are_refused_in_a_sentence(client: FlaskClient, sets: Any, said: str) -> None:
    """Nothing is saved then."""
    assert said in sentence(put(client, sets), 400)
    assert get(client, "labels")["sets"] == {}


def test_as_many_and_as_large_sets_as_there_may_be(tmp_path: Path) -> None:
    """They fit into a request and can be read again, beside many labels."""
    write_run(tmp_path, n_headlines=5, d_sae=30_000)
    client = client_of(tmp_path)
    sets = {f"{n} {'x' * 100}": {"features": list(range(29_000, 30_000)), "note": "é" * 200} for n in range(200)}
    labels = {str(n): {"name": "\x01é", "starred": True} for n in range(20_000)}
    assert put(client, sets, labels=labels).status_code == 200
    read = get(client, "labels")
    assert (len(read["sets"]), len(read["labels"])) == (200, 20_000)
    assert len(get(client, "sets")["sets"][0]["features"]) == 1000


def test_a_file_whose_set_has_a_feature_too_many_is_damaged(client: FlaskClient, tmp_path: Path) -> None:
    """The message names the set; the file stays."""
    (tmp_path / "labels").mkdir()
    text = json.dumps({"sae_hash": "5ae", "labels": {}, "sets": {"mine": {"features": [D_SAE]}}})
    (tmp_path / FILE).write_text(text)
    for response in (
        client.get("/api/labels"),
        client.get("/api/sets"),
        client.get("/api/features?set=mine"),
        put(client, {}),
    ):
        said = sentence(response, 409)
        assert f"sets.mine.{D_SAE}: this SAE has features 0 to {D_SAE - 1}" in said
    assert (tmp_path / FILE).read_text() == text


def test_a_set_filters_the_list_of_features(client: FlaskClient) -> None:
    """It combines with the other filters. A set that is not there is named, with those that are."""
    put(client, {"rates": {"features": CHOSEN}, "other": {"features": [1]}})
    page = get(client, "features", set="rates")
    assert (page["total"], sorted(row["feature"] for row in page["features"])) == (4, CHOSEN)
    live = get(client, "features", set="rates", support="live")
    assert {row["feature"] for row in live["features"]} == {
        row["feature"] for row in page["features"] if row["n_headlines"]
    }
    assert get(client, "features", set="rates", q="25")["total"] == 1
    for address in ("/api/features?set=rate", "/api/sets?name=rate"):
        assert sentence(client.get(address), 404) == (
            "This SAE has no set of features named 'rate'; it has 'other', 'rates'."
        )
    put(client, {})
    assert "it has no sets yet" in sentence(client.get("/api/features?set=rates"), 404)


def test_a_set_is_followed_into_other_sizes_and_seeds(tmp_path: Path) -> None:
    """Its counterparts are those of `family.json`, and those with a run are linked."""
    chance = np.random.default_rng(5)
    write_whole_run(tmp_path)
    run = read_run(find_run(tmp_path, None))
    members = [{"size": "8k", "sae_hash": "5ae", "seed": 0, "kind": "relu"}]  # whose newest run is this one
    members += [{"size": "32k", "sae_hash": "gone", "seed": 1, "kind": "relu"}]
    matches = [
        {
            "feature": chance.integers(0, 9_000, D_SAE).tolist(),
            "cosine": chance.random(D_SAE).round(4).tolist(),
            "coactivation": [0.5] * D_SAE,
            "verdict": chance.choice(["match", "split", "absent"], D_SAE).tolist(),
        }
        for _ in members
    ]
    family = {**made_from(run), "d_sae": D_SAE, "n_tokens": 99, "members": members, "matches": matches}
    add_file(run, FAMILY, json.dumps(family).encode())
    client = client_of(tmp_path)
    put(client, {"rates": {"features": CHOSEN, "note": "why"}, "other": {"features": [1]}})
    answer = get(client, "sets", name="rates")
    (one,) = answer["sets"]
    assert (answer["run_id"], answer["sae_hash"], one["name"], one["note"]) == ("run-001", "5ae", "rates", "why")
    for feature in one["features"]:
        info = get(client, "feature_info", id=feature["feature"])
        assert {name: info[name] for name in feature} == feature
    assert [feature["feature"] for feature in one["features"]] == CHOSEN
    assert [member["run_id"] for member in one["members"]] == ["run-001", None]
    for member, match, made in zip(one["members"], matches, members, strict=True):
        assert (member["size"], member["seed"], member["sae_hash"]) == (made["size"], made["seed"], made["sae_hash"])
        assert member["feature"] == [match["feature"][n] for n in CHOSEN]
        assert member["cosine"] == pytest.approx([match["cosine"][n] for n in CHOSEN])
        assert member["found"] == [match["verdict"][n] == "match" for n in CHOSEN]
        assert member["n_found"] == sum(member["found"])
    assert [one["name"] for one in get(client, "sets")["sets"]] == ["other", "rates"]


def test_a_run_without_family_has_no_other_saes(tmp_path: Path) -> None:
    """The set is still described."""
    write_run(tmp_path, n_headlines=5, d_sae=64)
    client = client_of(tmp_path)
    put(client, {"rates": {"features": [2]}})
    (one,) = get(client, "sets")["sets"]
    assert (one["members"], one["features"][0]["found_name"]) == ([], None)
