"""The API over run folders, asked as the viewer asks and as the hostile do."""

import gzip
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sae_pipeline.runs.folders import Run, read_run
from tests.support.run_factory import METRICS, write_run
from viz_analysis.feature_probe_server import create_app, openapi_json

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "viz_analysis" / "feature_probe_server.py"
N_HEADLINES, D_SAE, TOP = 40, 2000, 15
FUZZ_CASES = 40  # per endpoint and kind of question


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs; the second, latest one is the larger."""
    folder = tmp_path_factory.mktemp("analysis_data")
    write_run(folder, n_headlines=5, d_sae=64, seed=1)
    write_run(folder, N_HEADLINES, D_SAE, TOP, seed=2)
    return folder


@pytest.fixture(scope="module")
def run(runs: Path) -> Run:
    return read_run(max(runs.glob("*_run-002")))


@pytest.fixture(scope="module")
def client(runs: Path) -> FlaskClient:
    return create_app(runs, viewer_dir=runs / "no-viewer").test_client()


def get(client: FlaskClient, address: str) -> Any:
    response = client.get(address)
    assert response.status_code == 200, response.text
    assert response.mimetype == "application/json"
    return response.json


def error(client: FlaskClient, address: str, **request: Any) -> tuple[int, str]:
    """(status, message) of an error, having checked its shape."""
    response = client.get(address, **request)
    answer = response.json
    assert set(answer) == {"error"} and set(answer["error"]) == {"code", "message"}, answer
    assert re.fullmatch("[a-z_]+", answer["error"]["code"]) and answer["error"]["message"]
    return response.status_code, answer["error"]["message"]


# --- headlines -----------------------------------------------------------------------------------------


def test_headlines_carry_prompt_and_features_of_the_run(client: FlaskClient, run: Run) -> None:
    page = get(client, "/api/headlines?limit=500")
    assert (page["run_id"], page["total"], page["n_headlines"]) == ("run-002", N_HEADLINES, N_HEADLINES)
    assert page["n_correct"] == sum(p.label == p.prediction for p in run.prompts)
    for n, headline in enumerate(page["headlines"]):
        assert headline.pop("headline") == n
        features = headline.pop("features")
        assert headline.pop("effects") is None
        assert features == [f.model_dump() for f in run.headline_features.headlines[n].features]
        assert headline == run.prompts[n].model_dump()


def test_headline_pages_join_to_the_whole(client: FlaskClient) -> None:
    whole = get(client, "/api/headlines?limit=500&sort=loss")["headlines"]
    pages = [get(client, f"/api/headlines?limit=7&sort=loss&offset={n}")["headlines"] for n in range(0, 49, 7)]
    assert [headline for page in pages for headline in page] == whole
    assert pages[-1] == []


def test_headline_filters_combine(client: FlaskClient, run: Run) -> None:
    feature = run.headline_features.headlines[3].features[0].feature
    text = run.prompts[3].text.split()[0].upper()

    def ids(query: str) -> list[int]:
        page = get(client, f"/api/headlines?limit=500&{query}")
        assert page["total"] == len(page["headlines"])
        return [headline["headline"] for headline in page["headlines"]]

    def expected(keep: Any) -> list[int]:
        return [n for n, prompt in enumerate(run.prompts) if keep(n, prompt)]

    def has(n: int) -> bool:
        return feature in [f.feature for f in run.headline_features.headlines[n].features]

    assert ids("label=1") == expected(lambda n, p: p.label == 1)
    assert ids("prediction=0") == expected(lambda n, p: p.prediction == 0)
    assert ids("correct=true") == expected(lambda n, p: p.label == p.prediction)
    assert ids("correct=false&label=2") == expected(lambda n, p: p.label == 2 != p.prediction)
    assert ids(f"feature={feature}") == expected(lambda n, p: has(n))
    assert 3 in ids(f"q={text}") == expected(lambda n, p: text.lower() in p.text.lower())
    assert 3 in ids(f"q={text}&feature={feature}")
    assert ids("label=77") == ids("q=no+such+words") == ids("feature=1000000") == []


def test_confusion_counts_the_headlines_of_the_run(client: FlaskClient, run: Run) -> None:
    counts = np.zeros((3, 3), int)
    for prompt in run.prompts:
        counts[prompt.label, prompt.prediction] += 1
    answer = {"run_id": "run-002", "labels": run.metadata.labels, "counts": counts.tolist()}
    assert get(client, "/api/confusion") == get(client, "/api/confusion?q=") == answer
    assert get(client, "/api/confusion?run=1")["run_id"] == "run-001"


def test_confusion_counts_what_the_list_of_headlines_filters(client: FlaskClient, run: Run) -> None:
    feature = run.headline_features.headlines[3].features[0].feature
    confidence = np.array([max(prompt.probabilities) for prompt in run.prompts])
    middle = float(np.median(confidence))
    split = [get(client, f"/api/confusion?{side}_confidence={middle}")["counts"] for side in ("min", "max")]
    assert np.sum(split) == np.sum([confidence >= middle, confidence <= middle])
    for query in ("q=profit", f"feature={feature}", f"min_confidence={middle}", f"q=profit&max_confidence={middle}"):
        counts = get(client, f"/api/confusion?{query}")["counts"]
        assert 0 < np.sum(counts) < N_HEADLINES
        for label in range(3):
            for prediction in range(3):
                page = get(client, f"/api/headlines?limit=1&{query}&label={label}&prediction={prediction}")
                assert counts[label][prediction] == page["total"]
    nothing = get(client, "/api/confusion?q=no+such+words")["counts"]
    assert nothing == get(client, "/api/confusion?feature=1000000")["counts"] == [[0] * 3] * 3


def test_headlines_sort_by_their_probabilities(client: FlaskClient, run: Run) -> None:
    probabilities = np.array([prompt.probabilities for prompt in run.prompts])
    largest = np.sort(probabilities, axis=1)
    keys = {
        "position": np.arange(N_HEADLINES),
        "confidence": largest[:, -1],
        "margin": largest[:, -1] - largest[:, -2],
        "loss": -np.log([p.probabilities[p.label] for p in run.prompts]),
    }
    for sort, key in keys.items():
        for order, sign in (("asc", 1), ("desc", -1)):
            page = get(client, f"/api/headlines?limit=500&sort={sort}&order={order}")
            found = [headline["headline"] for headline in page["headlines"]]
            assert found == np.argsort(sign * key, kind="stable").tolist(), (sort, order)


# --- features ------------------------------------------------------------------------------------------


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
    assert found[0] == 12
    assert sorted(found) == sorted(n for n in range(D_SAE) if str(n).startswith("12"))
    kurtosis = np.array(run.feature_stats.metrics[-1].values)
    assert (np.diff(kurtosis[found[1:]]) <= 0).all()
    assert get(client, "/api/features?q=0")["total"] == 1
    assert get(client, "/api/features?q=007")["features"][0]["feature"] == 7
    assert get(client, f"/api/features?q={'9' * 200}")["total"] == 0
    without = next(n for n in range(D_SAE) if n not in {f.feature for f in run.feature_tokens.features})
    (row,) = get(client, f"/api/features?q={without}&limit=1")["features"]
    assert row["feature"] == without and row["word"] is None and not row["has_examples"]


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


# --- runs ----------------------------------------------------------------------------------------------


def test_run_and_health(client: FlaskClient, run: Run) -> None:
    assert get(client, "/api/run") == run.metadata.model_dump()
    assert get(client, "/api/run?run=1")["run_id"] == "run-001"
    health = get(client, "/api/health")
    assert health["status"] == "ok" and health["run_id"] == "run-002"


@pytest.mark.parametrize("name", ["1", "run-001", "folder"])
def test_any_run_answers_by_its_name(client: FlaskClient, runs: Path, name: str) -> None:
    wanted = next(runs.glob("*_run-001")).name if name == "folder" else name
    for path in ("headlines?", "features?", "feature_info?id=3&", "run?"):
        assert get(client, f"/api/{path}run={wanted}")["run_id"] == "run-001"


def test_runs_appear_and_disappear_without_a_restart(tmp_path: Path) -> None:
    app = create_app(tmp_path, viewer_dir=tmp_path)
    client = app.test_client()
    status, message = error(client, "/api/health")
    assert status == 503 and "no runs" in message
    assert error(client, "/api/headlines")[0] == 404
    assert get(client, "/api/runs") == {"runs": []}
    first = write_run(tmp_path, 3, 16)
    assert get(client, "/api/headlines")["run_id"] == "run-001"
    second = write_run(tmp_path, 4, 16)
    assert get(client, "/api/headlines")["n_headlines"] == 4
    listed = get(client, "/api/runs")["runs"]
    assert [(r["folder"], r["is_default"]) for r in listed] == [(second.name, True), (first.name, False)]
    shutil.rmtree(second)
    assert get(client, "/api/headlines")["run_id"] == "run-001"
    assert error(client, "/api/headlines?run=2")[0] == 404
    pinned = create_app(tmp_path, "1", viewer_dir=tmp_path).test_client()
    write_run(tmp_path, 5, 16)
    assert get(client, "/api/headlines")["n_headlines"] == 5
    assert get(pinned, "/api/headlines")["run_id"] == "run-001"
    assert [r["is_default"] for r in get(pinned, "/api/runs")["runs"]] == [False, True]
    shutil.rmtree(first)
    assert error(pinned, "/api/headlines")[0] == error(pinned, "/api/runs")[0] == 404


def test_a_damaged_run_is_marked_and_heals(tmp_path: Path) -> None:
    client = create_app(tmp_path, viewer_dir=tmp_path).test_client()
    folder = write_run(tmp_path, 3, 16)
    stats = folder / "feature_stats.json"
    whole = stats.read_bytes()
    stats.write_bytes(whole[:-20])
    for path in ("headlines", "features", "feature_info?id=1", "run", "health"):
        status, message = error(client, f"/api/{path}")
        assert status == 409 and "feature_stats.json" in message
    (listed,) = get(client, "/api/runs")["runs"]
    assert not listed["readable"] and "feature_stats.json" in listed["reason"]
    stats.write_bytes(whole)
    assert get(client, "/api/headlines")["total"] == 3
    assert get(client, "/api/runs")["runs"][0]["readable"]


def test_more_runs_than_are_kept_in_memory_are_all_served(tmp_path: Path) -> None:
    client = create_app(tmp_path, viewer_dir=tmp_path).test_client()
    for n in range(1, 8):
        write_run(tmp_path, n, 16)
    for n in (1, 2, 3, 4, 5, 6, 7, 1, 7, 2):
        assert get(client, f"/api/headlines?run={n}")["n_headlines"] == n


# --- errors and the hostile ----------------------------------------------------------------------------

BAD = {
    "/api/feature_info": 400,
    "/api/feature_info?id=": 400,
    "/api/feature_info?id=x": 400,
    "/api/feature_info?id=-1": 400,
    "/api/feature_info?id=1.5": 400,
    f"/api/feature_info?id={10**30}": 400,
    f"/api/feature_info?id={'9' * 8000}": 400,
    "/api/feature_info?id=2000": 404,
    "/api/features?metric=no_such": 404,
    "/api/confusion?label=1": 400,
    "/api/confusion?min_confidence=2": 400,
    "/api/confusion?run=99": 404,
    "/api/features?limit=0": 400,
    "/api/features?limit=-5": 400,
    "/api/features?limit=501": 400,
    f"/api/features?offset={10**30}": 400,
    "/api/features?offset=-1": 400,
    "/api/features?typo=1": 400,
    f"/api/headlines?q={'x' * 8000}": 400,
    "/api/headlines?sort=text": 400,
    "/api/headlines?correct=perhaps": 400,
    "/api/headlines?label=bullish": 400,
    "/api/headlines?run=99": 404,
    "/api/headlines?run=../../etc/passwd": 404,
    "/api/headlines?run=..%2f..%2fetc": 404,
    "/api/headlines?run=%00": 404,
    f"/api/headlines?run={10**30}": 404,
    f"/api/headlines?run={'9' * 8000}": 400,
    "/api/no_such": 404,
    "/api": 404,
    "/api/": 404,
    "/api/../../etc/passwd": 404,
    "/no/such/page": 404,
    "/%00": 404,
    "/" + "x" * 8000: 404,
}


@pytest.mark.parametrize("address", BAD, ids=lambda address: address[:50])
def test_bad_requests_are_clear_errors(client: FlaskClient, address: str) -> None:
    status, message = error(client, address)
    assert status == BAD[address]
    assert len(message) < 600 and "\n" not in message


def test_other_mistakes_have_the_same_shape(client: FlaskClient) -> None:
    for method in ("post", "put", "delete", "patch"):
        response = getattr(client, method)("/api/headlines")
        assert response.status_code == 405 and response.json["error"]["code"] == "method_not_allowed"
        assert "GET" in response.headers["Allow"]
    response = client.get("/api/headlines", data=b"x" * 100_000)
    assert response.status_code == 413 and response.json["error"]["code"] == "request_entity_too_large"
    hostile = "%27%3B%20DROP%20TABLE%20headlines%3B--"
    assert get(client, f"/api/headlines?q={hostile}")["total"] == 0
    assert get(client, "/api/headlines?q=%00%ff")["total"] == 0


def test_a_programming_error_is_a_plain_500(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(runs)
    monkeypatch.setattr(app.extensions["runs"], "ask", lambda run_id, question: 1 / 0)
    status, message = error(app.test_client(), "/api/headlines")
    assert status == 500 and "log" in message and "division" not in message


@pytest.mark.parametrize(
    ("host", "served_on", "status"),
    [
        ("localhost:8765", "127.0.0.1", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("[::1]:8765", "127.0.0.1", 200),
        ("LOCALHOST", "127.0.0.1", 200),
        ("box.lan:8765", "box.lan", 200),
        ("evil.example", "127.0.0.1", 403),
        ("localhost.evil.example", "127.0.0.1", 403),
        ("10.1.2.3", "127.0.0.1", 403),
        ("10.1.2.3:8765", "0.0.0.0", 200),
        ("evil.example", "0.0.0.0", 403),
        ("a b", "127.0.0.1", 403),
        ("[::1", "127.0.0.1", 403),
        ("@localhost", "127.0.0.1", 403),
    ],
)
def test_foreign_hosts_are_refused(runs: Path, host: str, served_on: str, status: int) -> None:
    client = create_app(runs, host=served_on).test_client()
    response = client.get("/api/health", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.json["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:1234", True),
        ("http://127.0.0.1:5173", True),
        ("http://[::1]:1234", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://evil.example?localhost:1234", False),
        ("null", False),
    ],
)
def test_only_local_pages_may_read_answers(client: FlaskClient, origin: str, allowed: bool) -> None:
    response = client.get("/api/health", headers={"Origin": origin})
    assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Access-Control-Allow-Credentials" not in response.headers


# --- economy -------------------------------------------------------------------------------------------


def test_large_answers_are_compressed_where_asked(client: FlaskClient) -> None:
    plain = client.get("/api/headlines")
    packed = client.get("/api/headlines", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data and len(packed.data) < len(plain.data) / 2
    assert "Accept-Encoding" in packed.headers["Vary"] and "Accept-Encoding" in plain.headers["Vary"]
    refused = client.get("/api/headlines", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers
    small = client.get("/api/health", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_unchanged_answer_is_not_sent_twice(tmp_path: Path, encoding: str) -> None:
    client = create_app(tmp_path).test_client()
    write_run(tmp_path, 10, 64)
    first = client.get("/api/headlines", headers={"Accept-Encoding": encoding})
    asked = {"Accept-Encoding": encoding, "If-None-Match": first.headers["ETag"]}
    again = client.get("/api/headlines", headers=asked)
    assert again.status_code == 304 and again.data == b"" and again.headers["ETag"] == first.headers["ETag"]
    write_run(tmp_path, 11, 64)
    assert client.get("/api/headlines", headers=asked).status_code == 200


# --- OpenAPI -------------------------------------------------------------------------------------------


def test_the_committed_openapi_is_current() -> None:
    committed = (ROOT / "sae-viewer" / "openapi.json").read_bytes()
    assert committed == openapi_json(create_app(ROOT / "analysis_data")), "run: make api"


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_api_keeps_to_its_description_whatever_it_is_asked(runs: Path, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_wsgi("/api/openapi.json", create_app(runs))
    asked = Counter[str]()
    for operation in described.get_all_operations():
        try:
            cases = operation.ok().as_strategy(generation_mode=mode)

            @given(cases)
            @settings(max_examples=FUZZ_CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def ask(case: Any) -> None:
                case.call_and_validate(
                    headers={"Accept-Encoding": "identity"},  # its client does not unpack gzip
                    # A change that is well-formed may still come too late, or name a feature that is not there.
                    excluded_checks=[positive_data_acceptance] if case.method == "PUT" else [],
                )
                asked[case.path] += 1

            ask()
        except Unsatisfiable:  # where there are no parameters, none can be wrong
            assert mode == GenerationMode.NEGATIVE
    print(f"{asked.total():,} {mode.value} questions at {len(asked)} endpoints")  # seen with pytest -s
    assert {"/api/headlines", "/api/features", "/api/feature_info", "/api/run"} <= asked.keys()


# --- the viewer's files --------------------------------------------------------------------------------


@pytest.fixture
def viewer(tmp_path: Path) -> FlaskClient:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<title>viewer</title>")
    (dist / "assets" / "index-a1b2.js").write_text("let x = 1;" * 1000)
    (tmp_path / "secret.txt").write_text("secret")
    (dist / "link.txt").symlink_to(tmp_path / "secret.txt")
    return create_app(tmp_path / "runs", viewer_dir=dist).test_client()


def test_the_built_viewer_is_served_with_its_own_addresses(viewer: FlaskClient) -> None:
    for address in ("/", "/index.html", "/features", "/features/12?metric=entropy", "/assets"):
        response = viewer.get(address)
        assert response.status_code == 200 and "<title>viewer" in response.text
        assert response.headers["Cache-Control"] == "no-cache"
    script = viewer.get("/assets/index-a1b2.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(script.data).startswith(b"let x") and "javascript" in script.mimetype
    assert "immutable" in script.headers["Cache-Control"]
    asked = {"If-None-Match": script.headers["ETag"], "Accept-Encoding": "gzip"}
    assert viewer.get("/assets/index-a1b2.js", headers=asked).status_code == 304


@pytest.mark.parametrize(
    "address", ["/link.txt", "/../secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "/old.js", "/%00.js"]
)
def test_nothing_else_is_served(viewer: FlaskClient, address: str) -> None:
    assert error(viewer, address)[0] == 404


def test_without_a_built_viewer_a_page_says_where_it_is(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "localhost:1234" in page.text and "make serve" in page.text
