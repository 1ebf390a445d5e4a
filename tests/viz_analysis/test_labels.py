"""Human labels over HTTP: no change is lost, and pages of other sites may not change them."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from sae_pipeline.artefacts.checksums import unseal
from sae_pipeline.runs.labels import MAX_LABELS_BYTES
from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app

D_SAE = 64
FILE = Path("labels") / "5ae.json"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path, n_headlines=5, d_sae=D_SAE)
    return tmp_path


@pytest.fixture
def client(runs: Path) -> FlaskClient:
    return create_app(runs).test_client()


def put(client: FlaskClient, labels: Any, etag: str | None, **headers: str) -> TestResponse:
    named = headers | ({"If-Match": f'"{etag}"'} if etag is not None else {})
    return client.put("/api/labels", json={"labels": labels}, headers=named)


def read(client: FlaskClient) -> Any:
    response = client.get("/api/labels")
    assert response.status_code == 200 and response.get_etag()[0] == response.json["etag"]
    return response.json


def test_every_reader_and_every_run_of_the_sae_gets_a_label(client: FlaskClient, runs: Path) -> None:
    empty = read(client)
    assert (empty["sae_hash"], empty["labels"]) == ("5ae", {})
    saved = put(client, {"7": {"name": "  beats\n estimates ", "starred": True, "note": "a\nb "}}, empty["etag"])
    assert saved.status_code == 200
    label = saved.json["labels"]["7"]
    assert label.pop("updated_at").endswith("+00:00")
    assert label == {"name": "beats estimates", "starred": True, "note": "a\nb"}
    write_run(runs, n_headlines=5, d_sae=D_SAE, seed=3)
    other = create_app(runs).test_client()
    assert other.get("/api/run").json["run_id"] == "run-002"
    assert read(other) == saved.json == read(client)
    assert json.loads((runs / FILE).read_text())["labels"]["7"]["name"] == "beats estimates"
    assert [path.name for path in (runs / "labels").iterdir() if path.suffix not in (".json", ".lock")] == []


def test_an_empty_label_is_no_label_and_unchanged_ones_keep_their_time(client: FlaskClient, runs: Path) -> None:
    first = put(client, {"1": {"name": "one"}, "2": {"starred": True}}, read(client)["etag"]).json
    old = json.loads((runs / FILE).read_text())
    old["labels"]["1"]["updated_at"] = "2001-01-01T00:00:00+00:00"
    del old["checksum"]
    (runs / FILE).write_text(json.dumps(old))
    after = put(client, first["labels"] | {"2": {"name": " ", "note": ""}}, read(client)["etag"]).json
    assert list(after["labels"]) == ["1"] and after["labels"]["1"]["updated_at"].startswith("2001")
    assert put(client, after["labels"], after["etag"]).json == after


def test_a_change_must_name_what_it_replaces(client: FlaskClient) -> None:
    before = read(client)["etag"]
    missing = put(client, {"1": {"name": "one"}}, None)
    assert (missing.status_code, missing.json["error"]["code"]) == (428, "precondition_required")
    assert put(client, {"1": {"name": "one"}}, before).status_code == 200
    late = put(client, {"2": {"name": "two"}}, before)
    assert (late.status_code, late.json["error"]["code"]) == (412, "labels_changed")
    assert list(read(client)["labels"]) == ["1"]
    weak = client.put("/api/labels", json={"labels": {}}, headers={"If-Match": f'"x", W/"{read(client)["etag"]}"'})
    assert weak.status_code == 200 and read(client)["labels"] == {}
    assert client.put("/api/labels", json={"labels": {}}, headers={"If-Match": "*"}).status_code == 200


def test_many_writers_at_once_lose_no_label(runs: Path) -> None:
    """Each writer adds its own label on one of four servers, and tries again where another one was faster."""
    clients = [create_app(runs).test_client() for _ in range(4)]

    def add(client: FlaskClient, feature: int) -> None:
        while True:
            now = read(client)
            more = now["labels"] | {str(feature): {"name": f"label {feature}"}}
            if put(client, more, now["etag"]).status_code == 200:
                return

    threads = [threading.Thread(target=add, args=(clients[n % 4], n)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {int(n): label["name"] for n, label in read(clients[0])["labels"].items()} == {
        n: f"label {n}" for n in range(12)
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:1234", "Sec-Fetch-Site": "same-origin"}, 200),  # through the viewer's own server
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "http://localhost:9999", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
def test_only_the_viewer_itself_may_change_labels(client: FlaskClient, headers: dict[str, str], status: int) -> None:
    response = put(client, {"1": {"name": "one"}}, read(client)["etag"], **headers)
    assert response.status_code == status
    assert ("1" in read(client)["labels"]) == (status == 200)


def test_another_origin_may_not_put(client: FlaskClient) -> None:
    asked = {"Origin": "http://localhost:1234", "Access-Control-Request-Method": "PUT"}
    assert "PUT" not in client.options("/api/labels", headers=asked).headers.get("Access-Control-Allow-Methods", "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"labels": {"1": {"name": "x" * 121}}}, 400),
        ({"labels": {"1": {"note": "x" * 4001}}}, 400),
        ({"labels": {"-1": {"name": "x"}}}, 400),
        ({"labels": {"one": {"name": "x"}}}, 400),
        ({"labels": {str(D_SAE): {"name": "x"}}}, 400),
        ({"labels": {"9" * 30: {"name": "x"}}}, 400),
        ({"labels": {"1": {"name": "x", "colour": "red"}}}, 400),
        ({"labels": {"1": {"name": "\ud800"}}}, 400),
        ({"labels": {"1": None}}, 400),
        ({"labels": []}, 400),
        ({}, 400),
        ([], 400),
        ({"labels": {str(n): {"note": "x" * 4000} for n in range(20)}}, 200),  # beyond other endpoints' bodies
        ({"labels": {"1": {"name": "x" * (4 << 20)}}}, 413),
    ],
)
def test_bad_labels_are_refused_in_a_sentence(client: FlaskClient, body: Any, status: int) -> None:
    response = client.put("/api/labels", json=body, headers={"If-Match": "*"})
    assert response.status_code == status, response.text
    if status != 200:
        assert response.json["error"]["message"].endswith(".") and read(client)["labels"] == {}


def test_a_body_that_is_no_json_is_refused(client: FlaskClient) -> None:
    for data, kind in ((b"{", "application/json"), (b"{}", "text/plain"), (b"\xff\xfe", "application/json")):
        response = client.put("/api/labels", data=data, content_type=kind, headers={"If-Match": "*"})
        assert response.status_code in (400, 415) and response.json["error"]["message"]


def refused(client: FlaskClient, etag: str) -> str:
    """Why the file of labels is refused, by all that read it; it stays as it is."""
    answers = [client.get("/api/labels"), client.get("/api/features?q=x"), put(client, {}, etag), put(client, {}, "*")]
    assert {(answer.status_code, answer.json["error"]["code"]) for answer in answers} == {(409, "damaged_labels")}
    (message,) = {str(answer.json["error"]["message"]) for answer in answers}
    assert "5ae.json in labels" in message and message.endswith("move it away.")
    return message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"labels": {"1"', "Invalid JSON"),
        ('{"sae_hash": "5ae", "labels": {"1": {"name": 5}}}', "labels.1.name: Input should be a valid string"),
        ('{"sae_hash": "5af", "labels": {}}', "belongs to another SAE (sae_hash: '5af')"),
        ('{"sae_hash": "5ae", "labels": {"64": {"name": "x"}}}', "labels.64: this SAE has features 0 to 63"),
        ('{"sae_hash": "5ae", "labels": ' + "[" * 9_000 + "]" * 9_000 + "}", "recursion limit"),
        ('{"sae_hash": "5ae", "labels": {' + ",".join(f'"{n}": {{}}' for n in range(20_001)) + "}}", "at most 20000"),
        ('{"sae_hash": "5ae", "labels": {}}' + " " * MAX_LABELS_BYTES, "is larger than 16 MiB"),
        ("", "EOF"),
    ],
)
def test_a_damaged_file_is_named_and_never_overwritten(
    client: FlaskClient, runs: Path, damage: str, message: str
) -> None:
    etag = put(client, {"1": {"name": "precious"}}, read(client)["etag"]).json["etag"]
    (runs / FILE).write_text(damage)
    assert message in refused(client, etag)
    assert (runs / FILE).read_text() == damage


def test_every_change_of_a_byte_is_found(client: FlaskClient, runs: Path) -> None:
    etag = put(client, {"1": {"name": "precious"}, "20": {"note": "n", "starred": True}}, read(client)["etag"]).json[
        "etag"
    ]
    whole = (runs / FILE).read_bytes()
    for place in range(len(whole)):
        (runs / FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert client.get("/api/labels").status_code == 409, whole[place:][:20]
    (runs / FILE).write_bytes(whole.replace(b"precious", b"prefious"))
    assert "if you changed it yourself, remove its field `checksum`" in refused(client, etag)
    (runs / FILE).write_bytes(whole)
    assert read(client)["etag"] == etag


def test_a_person_may_edit_the_file_and_the_next_change_seals_it(client: FlaskClient, runs: Path) -> None:
    etag = put(client, {"1": {"name": "one"}}, read(client)["etag"]).json["etag"]
    file = json.loads((runs / FILE).read_text())
    (runs / FILE).write_text(json.dumps(file, indent=4))  # the same, written by another program
    assert "remove its field `checksum`" in refused(client, etag)
    del file["checksum"]
    file["labels"]["2"] = {"name": "by hand"}
    (runs / FILE).write_text(json.dumps(file, indent=4))
    edited = read(client)
    assert edited["labels"]["2"]["name"] == "by hand" and edited["etag"] != etag
    assert put(client, edited["labels"] | {"3": {"starred": True}}, edited["etag"]).status_code == 200
    unseal((runs / FILE).read_bytes())
    assert list(read(client)["labels"]) == ["1", "2", "3"]


def test_the_largest_change_can_be_read_again(client: FlaskClient, runs: Path) -> None:
    write_run(runs, n_headlines=5, d_sae=30_000, seed=3)
    full = {str(n): {"name": "\x01é", "starred": True} for n in range(20_000)}
    saved = client.put(
        "/api/labels", data=orjson.dumps({"labels": full}), content_type="application/json", headers={"If-Match": "*"}
    )
    assert saved.status_code == 200 and len(read(client)["labels"]) == 20_000


def test_a_link_or_a_pipe_is_no_file_of_labels(client: FlaskClient, runs: Path) -> None:
    """Neither is waited for, and nothing outside the folder is read."""
    (runs / "labels").mkdir()
    os.mkfifo(runs / FILE)
    assert "is not a plain file" in refused(client, "x")
    (runs / FILE).unlink()
    (runs / "elsewhere").write_text('{"sae_hash": "5ae", "labels": {}}')
    (runs / FILE).symlink_to(runs / "elsewhere")
    assert "is not a plain file" in refused(client, "x")


def test_a_folder_that_cannot_be_written_is_a_sentence(client: FlaskClient, runs: Path) -> None:
    (runs / "labels").write_text("in the way")
    response = put(client, {"1": {"name": "one"}}, "x")
    assert response.status_code == 503 and "labels" in response.json["error"]["message"]


def test_a_run_cannot_name_a_file_elsewhere(runs: Path) -> None:
    metadata = next(runs.glob("*_run-001")) / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"5ae"', '"../../5ae"'))
    client = create_app(runs).test_client()
    assert client.get("/api/labels").status_code == 409
    assert put(client, {"1": {"name": "one"}}, "x").status_code == 409
