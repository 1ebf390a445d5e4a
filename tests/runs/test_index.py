"""The index of a run: what it answers equals what the JSON files say."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.runs.folders import Run, read_run
from tests.support.indexed_runs import D_SAE, DECODER_ROWS, N, client_of, get, write_whole_run
from tests.support.run_factory import D_IN, LABELS, write_run
from viz_analysis.runs.headline_answers import match_expression

FILTERS = {
    "label": [None, 0, 2, 9],
    "prediction": [None, 1],
    "correct": [None, "true", "false"],
    "min_confidence": [None, 0.4, 0.7],
    "max_confidence": [None, 0.8, 1],
    "q": [None, "shares", "SURGE rec", '"on record"', "no-such", "%"],
    "sort": ["position", "confidence", "margin", "loss"],
    "order": ["asc", "desc"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional file."""
    return write_whole_run(tmp_path_factory.mktemp("analysis_data"))


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


@pytest.fixture(scope="module")
def client(folder: Path) -> FlaskClient:
    return client_of(folder.parent)


def test_every_combination_of_filters_finds_what_a_plain_loop_finds(client: FlaskClient, run: Run) -> None:
    draw = random.Random(0)
    features = [f.feature for record in run.headline_features.headlines for f in record.features]
    found_some = 0
    for _ in range(200):
        query = {name: draw.choice([None, *values]) for name, values in FILTERS.items()}
        query["feature"] = draw.choice([None, None, *features[:5]])
        expected = [n for n in range(N) if keeps(run, n, query)]
        keys = {n: sort_key(run, n, query["sort"] or "position") for n in expected}
        expected.sort(key=lambda n: -keys[n] if query["order"] == "desc" else keys[n])
        offset = draw.choice([0, 3])
        asked = {name: value for name, value in query.items() if value is not None}
        page = get(client, "headlines", limit=7, offset=offset, **asked)
        assert page["total"] == len(expected), asked
        assert [headline["headline"] for headline in page["headlines"]] == expected[offset : offset + 7], asked
        found_some += 0 < len(expected) < N
    assert found_some > 40


def keeps(run: Run, n: int, query: dict[str, Any]) -> bool:
    prompt = run.prompts[n]
    confidence, words = prompt.probabilities[prompt.prediction], prompt.text.lower().replace(",", "").split()
    wanted = {
        None: True,
        "shares": any(word.startswith("shares") for word in words),
        "SURGE rec": "surge" in words and "record" in words,
        '"on record"': "on record" in " ".join(words),
        "no-such": False,
        "%": False,
    }
    return (
        query["label"] in (None, prompt.label)
        and query["prediction"] in (None, prompt.prediction)
        and query["correct"] in (None, str(prompt.label == prompt.prediction).lower())
        and (query["min_confidence"] or 0) <= confidence <= (query["max_confidence"] or 1)
        and wanted[query["q"]]
        and query["feature"] in (None, *(f.feature for f in run.headline_features.headlines[n].features))
    )


def sort_key(run: Run, n: int, sort: str) -> float:
    p, prompt = sorted(run.prompts[n].probabilities), run.prompts[n]
    keys = {"position": n, "confidence": p[-1], "margin": p[-1] - p[-2], "loss": -np.log(p_true(prompt))}
    return float(keys[sort])


def p_true(prompt: Any) -> float:
    return max(prompt.probabilities[prompt.label], 1e-12)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("Fed holds", '"Fed" "holds"*'),
        ('"rate cut" fe', '"rate cut" "fe"*'),
        ("a b", '"a" "b"'),
        ("$TSLA's", '"$TSLA\'s"'),
        ('" OR NEAR(', '"OR" "NEAR("'),
        ("\0x\0", '"x"'),
        ("%_-", None),
        ("", None),
    ],
)
def test_what_is_searched_for_is_words_and_never_syntax(text: str, expression: str | None) -> None:
    assert match_expression(text) == expression


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_can_be_searched_for(client: FlaskClient, text: str) -> None:
    for path in ("headlines", "features"):
        response = client.get(
            f"/api/{path}", query_string={"q": text, "token": text} if path == "features" else {"q": text}
        )
        assert response.status_code == 200, response.text


def test_features_by_word_density_support_and_people(folder: Path, client: FlaskClient, run: Run) -> None:
    saved = run.feature_tokens.features
    words = {one.feature: {example.word.casefold() for example in one.examples} for one in saved}
    found = [row["feature"] for row in get(client, "features", token="SURGE", limit=500)["features"]]
    assert set(found) == {feature for feature, fired in words.items() if any(w.startswith("surge") for w in fired)}
    counts = run.feature_stats.headline_counts
    for support, keep in {
        "live": lambda n: n > 0,
        "dead": lambda n: n == 0,
        "thin": lambda n: 0 < n < 5,
        "solid": lambda n: n >= 5,
    }.items():
        page = get(client, "features", support=support, limit=500)
        assert {row["feature"] for row in page["features"]} == {f for f in range(D_SAE) if keep(counts[f])}
    rows = get(client, "features", min_density=0.2, max_density=0.6, limit=500, order="asc")["features"]
    densities = [row["density"] for row in rows]
    assert densities and all(0.2 <= density <= 0.6 for density in densities)
    values = [row["values"]["mean_activation"] for row in rows]
    assert values == sorted(values)
    labels = folder.parent / "labels"
    labels.mkdir()
    label = {"name": "Rate cuts", "starred": False, "note": "", "updated_at": None}
    (labels / "5ae.json").write_text(json.dumps({"schema_version": 1, "sae_hash": "5ae", "labels": {"7": label}}))
    assert [row["feature"] for row in get(client, "features", labelled="true")["features"]] == [7]
    assert [row["feature"] for row in get(client, "features", q="rate CUT")["features"]] == [7]
    assert get(client, "features", labelled="false")["total"] == D_SAE - 1


def test_a_feature_shows_its_neighbours_effects_and_classes(client: FlaskClient, run: Run) -> None:
    feature = run.feature_tokens.features[0].feature
    info = get(client, "feature_info", id=feature)
    assert [one["feature"] for one in info["similar_decoder"]] == [(feature + 1) % D_SAE, (feature + 2) % D_SAE]
    assert [one["similarity"] for one in info["similar_cofiring"]] == [0.4, 0.1]
    assert [(one["run_id"], one["feature"], one["verdict"]) for one in info["family"][:2]] == [
        ("run-001", 3, "match"),
        (None, 3, "match"),
    ]
    effect = next(stat for stat in info["stats"] if stat["name"] == "effect_bullish")
    assert (effect["n"], effect["low"], effect["high"], effect["q"]) == (7, -1.0, None, 0.5)
    assert len(info["classes"]) == len(LABELS) and info["classes"][1]["effect"] == effect["value"]
    assert info["groups"][0]["kind"] == "top" and info["groups"][0]["examples"] == info["examples"]
    assert "effect_bullish" in [metric["name"] for metric in get(client, "features")["metrics"]]
    assert get(client, "features", metric="effect_bullish", limit=1)["features"][0]["feature"] >= 0


def test_density_counts_every_feature_once(client: FlaskClient, run: Run) -> None:
    density = get(client, "feature_density")
    dead = sum(count == 0 for count in run.feature_stats.headline_counts)
    assert density["n_dead"] == dead and len(density["edges"]) == len(density["counts"]) + 1
    values = next(column for column in run.feature_stats.metrics if column.name == "fraction_active").values
    assert sum(density["counts"]) == sum(value > 0 for value in values)


def test_similar_headlines_are_those_of_the_highest_cosine(client: FlaskClient, run: Run) -> None:
    vectors = np.zeros((N, D_SAE))
    for record in run.headline_features.headlines:
        vectors[record.headline, [f.feature for f in record.features]] = [f.activation for f in record.features]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for n in (0, 17, N - 1):
        cosines = vectors @ vectors[n]
        cosines[n] = 0
        answer = get(client, "similar_headlines", headline=n, limit=5)["similar"]
        found = [one["headline"]["headline"] for one in answer]
        assert [one["similarity"] for one in answer] == pytest.approx(np.sort(cosines)[::-1][: len(found)], abs=1e-5)
        assert n not in found and cosines[found] == pytest.approx([one["similarity"] for one in answer], abs=1e-5)
    assert client.get(f"/api/similar_headlines?headline={N}").status_code == 404


def test_causal_evidence_comes_with_headline_and_run(client: FlaskClient, tmp_path: Path) -> None:
    headlines = get(client, "headlines", limit=500)["headlines"]
    assert [headline["headline"] for headline in headlines if headline["effects"]] == [4]
    assert headlines[4]["effects"]["logits"] == [0.5, -0.25, -0.25]
    assert get(client, "interventions")["completeness_gap"] == 0.1
    assert get(client, "runs")["runs"][0]["has_interventions"]
    write_run(tmp_path, 3, 16)
    missing = client_of(tmp_path).get("/api/interventions")
    assert missing.status_code == 404 and missing.json["error"]["code"] == "no_interventions"
    assert "sae_pipeline intervene" in missing.json["error"]["message"]


def test_runs_are_compared_by_headline_and_decoder(folder: Path, tmp_path: Path, run: Run) -> None:
    first = tmp_path / folder.name
    shutil.copytree(folder, first)
    write_run(tmp_path, 5, 16, seed=9)
    write_run(tmp_path, N, D_SAE, top=40, seed=3, decoder=np.eye(D_SAE, D_IN, dtype=np.float16))  # the same headlines
    client = client_of(tmp_path)
    wanted = run.prompts[11].headline_id
    answer = get(client, "compare", runs="1,2,3", headline_id=wanted, feature=5)
    assert [one["run_id"] for one in answer["runs"]] == ["run-001", "run-002", "run-003"]
    assert [one and one["headline_id"] for one in answer["headlines"]] == [wanted, None, wanted]
    without, matches = answer["matches"]
    assert without["features"] == []
    row = DECODER_ROWS[5].astype(np.float32)
    assert matches["features"][0]["feature"] == int(row.argmax())
    assert matches["features"][0]["similarity"] == pytest.approx(row.max() / np.linalg.norm(row), abs=1e-5)
    for bad, status in {"1,9": 404, "1,2,3,1,2": 400, ",": 400, "1,": 400}.items():
        assert client.get(f"/api/compare?runs={bad}").status_code == status
    assert client.get(f"/api/compare?runs=1,2&feature={D_SAE}").status_code == 404
