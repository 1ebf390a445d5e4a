"""The index of a run: what it answers equals what the JSON files say, whatever happened to it or to them."""

import json
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sae_pipeline import json_records
from sae_pipeline.compact_json import array as json_array
from sae_pipeline.run_index import INDEX, build_index, index_is_current
from sae_pipeline.runs import DamagedRunError, Run, read_run
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.evidence import FAMILY
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from viz_analysis import run_library
from viz_analysis.feature_probe_server import create_app
from viz_analysis.headline_answers import match_expression

from .run_factory import LABELS, write_run
from .test_runs import DAMAGE

N, D_SAE = 60, 300
EDITS = st.sampled_from([b"", b"9", b"-", b"]", b'"', b"\n", b"\0", b"\xff"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional file."""
    run = write_run(tmp_path_factory.mktemp("analysis_data"), N, D_SAE, top=40, seed=3)
    add_evidence(run)
    return run


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small run, to be copied."""
    return write_run(tmp_path_factory.mktemp("pristine"), n_headlines=3, d_sae=16, top=2)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


@pytest.fixture(scope="module")
def client(folder: Path) -> FlaskClient:
    return client_of(folder.parent)


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
    """A record like `schema.HeadlineEffects`."""
    three = [0.5, -0.25, -0.25]
    prompt = json.loads((run / "prompts.jsonl").read_text().splitlines()[n])
    record: dict[str, Any] = {"headline": n, "headline_id": prompt["headline_id"], "features": []}
    record |= {"logits": three, "base": three, "rest": three, "flip": None, "repair": None}
    return record | {"spliced_prediction": 1, "spliced_delta_p": 0.1, "spliced_kl": 0.1}


# --- answers equal the files ---------------------------------------------------------------------------

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


def test_every_combination_of_filters_finds_what_a_plain_loop_finds(client: FlaskClient, run: Run) -> None:
    draw = random.Random(0)
    features = [f.feature for record in run.headline_features.headlines for f in record.features]
    found_some = 0
    for _ in range(150):
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


def test_features_by_word_density_evidence_and_people(folder: Path, client: FlaskClient, run: Run) -> None:
    saved = run.feature_tokens.features
    words = {one.feature: {example.word.casefold() for example in one.examples} for one in saved}
    found = [row["feature"] for row in get(client, "features", token="SURGE", limit=500)["features"]]
    assert set(found) == {feature for feature, fired in words.items() if any(w.startswith("surge") for w in fired)}
    counts = run.feature_stats.headline_counts
    for evidence, keep in {
        "live": lambda n: n > 0,
        "dead": lambda n: n == 0,
        "thin": lambda n: 0 < n < 5,
        "solid": lambda n: n >= 5,
    }.items():
        page = get(client, "features", evidence=evidence, limit=500)
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
    assert [(one["run_id"], one["feature"], one["verdict"]) for one in info["family"]] == [
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
    second = write_run(tmp_path, N, D_SAE, top=40, seed=3)  # the same headlines
    save_file({"W_dec": np.eye(D_SAE, 16, dtype=np.float16)}, second / DECODER)
    client = client_of(tmp_path)
    wanted = run.prompts[11].headline_id
    answer = get(client, "compare", runs="1,2,3", headline_id=wanted, feature=5)
    assert [one["run_id"] for one in answer["runs"]] == ["run-001", "run-002", "run-003"]
    assert [one and one["headline_id"] for one in answer["headlines"]] == [wanted, None, wanted]
    without, matches = answer["matches"]
    assert without["features"] == []
    row = np.random.default_rng(0).normal(size=(D_SAE, 16)).astype(np.float16)[5].astype(np.float32)
    assert matches["features"][0]["feature"] == int(row.argmax())
    assert matches["features"][0]["similarity"] == pytest.approx(row.max() / np.linalg.norm(row), abs=1e-5)
    for bad, status in {"1,9": 404, "1,2,3,1,2": 400, ",": 400, "1,": 400}.items():
        assert client.get(f"/api/compare?runs={bad}").status_code == status
    assert client.get(f"/api/compare?runs=1,2&feature={D_SAE}").status_code == 404


# --- the index itself ----------------------------------------------------------------------------------


def everything(client: FlaskClient) -> list[Any]:
    pages = ["headlines?limit=500", "features?limit=500", "feature_info?id=3", "similar_headlines?headline=0"]
    return [get(client, page) for page in pages]


def spoil(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda index: index.write_bytes(change(index.read_bytes())) and None


def forge(statement: str) -> Callable[[Path], None]:
    def apply(index: Path) -> None:
        connection = sqlite3.connect(index)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return apply


def link_elsewhere(index: Path) -> None:
    secret = index.parent.parent / "secret"
    index.rename(secret)
    index.symlink_to(secret)


SPOILT: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "empty": spoil(lambda data: b""),
    "truncated": spoil(lambda data: data[: len(data) // 3]),
    "noise": spoil(lambda data: bytes(len(data))),
    "pages overwritten": spoil(lambda data: data[:8192] + b"\xff" * (len(data) - 8192)),
    "text": spoil(lambda data: b"not a database" * 1000),
    "other stamp": forge("UPDATE about SET value = 'x' WHERE name = 'stamp'"),
    "no totals": forge("DELETE FROM about WHERE name = 'n_headlines'"),
    "no rows": forge("DELETE FROM headline"),
    "false places": forge("UPDATE headline SET prompt_at = prompt_at + 3"),
    "places beyond the file": forge("UPDATE headline SET features_at = 1 << 62"),
    "places that are no numbers": forge("UPDATE headline SET prompt_at = 'x', prompt_bytes = -1"),
    "false headlines": forge("UPDATE posting SET headlines = x'ffffffff', weights = x'00000000'"),
    "false facts": forge("UPDATE feature SET facts = '[]'"),
    "a link": link_elsewhere,
}


@pytest.mark.parametrize("how", SPOILT)
def test_an_index_that_is_gone_or_false_is_made_anew(folder: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    expected = everything(client_of(tmp_path))
    SPOILT[how](copy / INDEX)
    assert everything(client_of(tmp_path)) == expected
    assert index_is_current(copy) and not (copy / INDEX).is_symlink()
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        [*RUN_FILES, NEIGHBOURS, FAMILY, DECODER, FEATURE_EFFECTS, INTERVENTIONS, INDEX]
    )


def test_a_run_that_changes_is_indexed_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 8, 64)
    client = client_of(tmp_path)
    assert get(client, "headlines", q="zebra")["total"] == 0
    lines = (folder / "prompts.jsonl").read_text().splitlines()
    prompt = json.loads(lines[2])
    prompt["text"] = "Zebra " + prompt["text"]
    (folder / "prompts.jsonl").write_text("\n".join([*lines[:2], json.dumps(prompt), *lines[3:]]))
    assert [headline["headline"] for headline in get(client, "headlines", q="zebra")["headlines"]] == [2]


@pytest.mark.parametrize("indent", [None, 1])
def test_files_that_a_formatter_rewrote_are_read_too(folder: Path, tmp_path: Path, indent: int | None) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    expected = everything(client_of(tmp_path))
    for name in (*RUN_FILES[2:], FEATURE_EFFECTS, INTERVENTIONS):
        (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()), indent=indent))
    assert everything(client_of(tmp_path)) == expected


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_like_by_the_whole_reader(tmp_path: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    message = {"truncated": "feature_tokens.json, .*EOF", "deep": "headline_features.json"}.get(kind, message)
    folder = write_run(tmp_path / "runs", n_headlines=5, d_sae=100)
    damage(folder)
    with pytest.raises(DamagedRunError, match=message) as raised:
        build_index(folder)
    assert folder.name in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert not (folder / INDEX).exists() and not list(folder.glob(".index*"))
    assert client_of(tmp_path / "runs").get("/api/headlines").status_code == 409


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return apply


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "huge count": replaced("feature_stats.json", b'"headline_counts":[', b'"headline_counts":[' + b"9" * 30 + b","),
    "huge d_sae": replaced("feature_stats.json", b'"d_sae":100', b'"d_sae":' + b"9" * 30),
    "negative d_sae": replaced("feature_stats.json", b'"d_sae":100', b'"d_sae":-1'),
    "huge feature": replaced("headline_features.json", b'"feature":', b'"feature":' + b"9" * 30),
    "huge headline": replaced("feature_tokens.json", b'"headline":', b'"headline":' + b"9" * 30),
    "duplicate keys": replaced("prompts.jsonl", b'"label":', b'"label":7,"label":'),
    "duplicate key, last wrong": replaced("prompts.jsonl", b',"tokens"', b',"label":7,"tokens"'),
    "infinity": replaced("headline_features.json", b'"activation":', b'"activation":1e999,"value":'),
    "huge activation": replaced("headline_features.json", b'"activation":', b'"activation":1e308,"activation":'),
    "no headlines": lambda folder: (folder / "prompts.jsonl").write_bytes(b""),
    "blank lines": replaced("prompts.jsonl", b"\n", b"\n\n"),
    "trailing text": lambda folder: (folder / "feature_tokens.json").open("ab").write(b"{}") and None,
    "two objects": lambda folder: (folder / "feature_stats.json").open("ab").write(b"[1]\n") and None,
    "nested deeply": replaced("feature_tokens.json", b'"examples":[', b'"examples":[' + b"[" * 50_000),
    "an array": lambda folder: (folder / "headline_features.json").write_bytes(b"[1, 2]"),
    "a string without end": lambda folder: (folder / "headline_features.json").write_bytes(
        b'{"headlines":["' + b"x" * 9999
    ),
    "null bytes": lambda folder: (folder / "feature_stats.json").write_bytes(bytes(5000)),
    "twice the same feature": lambda folder: _twice(folder / "feature_tokens.json"),
    "no labels": lambda folder: _metadata(folder, labels=[]),
    "a metric called '; DROP": lambda folder: _metadata(
        folder, metrics=[{"name": "'; DROP", "label": "", "description": ""}]
    ),
    "neighbours beyond": lambda folder: (folder / NEIGHBOURS).write_text('{"d_sae":100,"k":1,"n_headlines":1}'),
    "a folder of neighbours": lambda folder: (folder / NEIGHBOURS).mkdir(),
    "a family of nobody": lambda folder: (folder / FAMILY).write_text("{}"),
    "effects of another SAE": lambda folder: (folder / FEATURE_EFFECTS).write_text('{"columns":[]}'),
    "a link of interventions": lambda folder: (folder / INTERVENTIONS).symlink_to("/etc/passwd"),
}


def _twice(path: Path) -> None:
    data = json.loads(path.read_text())
    data["features"].append(data["features"][0])
    path.write_text(json.dumps(data))


def _metadata(folder: Path, **change: Any) -> None:
    data = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**data, **change}))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_a_sentence_or_harmless(tmp_path: Path, kind: str) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    HOSTILE[kind](folder)
    client = client_of(tmp_path)
    statuses = set()
    for page in (
        "headlines",
        "features",
        "feature_info?id=3",
        "similar_headlines?headline=0",
        "feature_density",
        "run",
    ):
        response = client.get(f"/api/{page}")
        statuses.add(response.status_code)
        if response.status_code != 200:
            message = response.json["error"]["message"]
            assert response.status_code == 409 and folder.name in message and len(message) < 600, message
    assert len(statuses) == 1, statuses  # readable as a whole, or not at all
    (listed,) = get(client, "runs")["runs"]
    assert listed["readable"] == (statuses == {200})
    harmless = {"duplicate keys", "huge activation", "blank lines"} & {kind}
    assert statuses == {200} if kind in ("duplicate keys",) else statuses == {409} or harmless


@given(
    st.sampled_from(RUN_FILES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), EDITS), min_size=1, max_size=4)
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_change_of_bytes_is_no_server_error(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("runs") / pristine.name
    shutil.copytree(pristine, folder)
    text = bytearray((folder / name).read_bytes())
    for place, n_bytes, new in edits:
        at = int(place * (len(text) - 1))
        text[at : at + n_bytes] = new
    (folder / name).write_bytes(text)
    client = client_of(folder.parent)
    for page in ("headlines", "features", "feature_info?id=3", "similar_headlines?headline=0", "runs"):
        assert client.get(f"/api/{page}").status_code in (200, 409)
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize("layout", ["a record per line", "formatted"])
def test_a_giant_record_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=16)
    if layout == "formatted":
        path = folder / "feature_tokens.json"
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    monkeypatch.setattr(json_records, "MAX_RECORD_BYTES", 500)
    with pytest.raises(DamagedRunError, match=r"has .*more than"):
        build_index(folder)


# --- the library of runs -------------------------------------------------------------------------------


def test_who_asks_while_a_run_is_indexed_is_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    go = threading.Event()

    def slow(folder: Path, progress: Any, into: Any) -> Path:
        progress(40, 100)
        go.wait(20)
        return build_index(folder, progress, into)

    monkeypatch.setattr(run_library, "_PATIENCE", 0.05)
    monkeypatch.setattr(run_library, "build_index", slow)
    client = client_of(tmp_path)
    waiting = client.get("/api/health")
    assert waiting.status_code == 503 and waiting.json["error"]["code"] == "indexing"
    assert "40%" in waiting.json["error"]["message"] and waiting.headers["Retry-After"] == "2"
    go.set()
    monkeypatch.setattr(run_library, "_PATIENCE", 20)
    assert get(client, "health")["n_headlines"] == 5


def test_a_run_in_a_folder_that_cannot_be_written_is_indexed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path, 5, 64)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert get(client_of(tmp_path), "headlines")["total"] == 5
    assert not (folder / INDEX).exists()


def test_an_index_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    client = client_of(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        response = client.get("/api/headlines")
    assert response.status_code == 503 and "No space left" in response.json["error"]["message"]
    assert get(client, "headlines")["total"] == 5


def test_every_request_leaves_a_line_of_json(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", 5, 64)
    log = tmp_path / "access.log"
    client = create_app(tmp_path / "runs", access_log=str(log)).test_client()
    for address in ("/api/headlines?q=a%0Ab", "/api/features?limit=0", "/nothing\nhere"):
        client.get(address)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["status"]) for line in lines][:2] == [("/api/headlines", 200), ("/api/features", 400)]
    assert len(lines) == 3 and all(line["ms"] >= 0 and line["method"] == "GET" for line in lines)
    assert lines[0]["query"] == "q=a%0Ab" and lines[0]["bytes"] > 100
