"""/api/headlines and /api/confusion: filters, order and pages."""

from typing import Any

import numpy as np
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import Run
from tests.support.api_client import get
from tests.viz_analysis.conftest import N_HEADLINES


def test_headlines_carry_prompt_and_features_of_the_run(client: FlaskClient, run: Run) -> None:
    page = get(client, "/api/headlines?limit=500")
    assert (page["run_id"], page["total"], page["n_headlines"]) == ("run-002", N_HEADLINES, N_HEADLINES)
    assert page["n_correct"] == sum(p.label == p.prediction for p in run.prompts)
    for n, headline in enumerate(page["headlines"]):
        assert headline.pop("headline") == n
        features = headline.pop("features")
        assert headline.pop("effects") is headline.pop("similarity") is None
        assert headline.pop("found_names") == {}
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
