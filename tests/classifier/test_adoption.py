"""A classifier is taken as it is: the same weights, its own classes, and scores where there are labels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import StudyConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.runs.folders import read_run
from sae_pipeline.study import present
from tests.support.encoders import finbert_like
from tests.support.tables import ROWS, csv_text

CPU = torch.device("cpu")


def study_of(
    folder: Path, model: Path, rows: Sequence[Any], header: Sequence[str] = ("text", "label"), **headlines: Any
) -> StudyConfig:
    """A study that adopts `model` with a table of these rows."""
    (folder / "table.csv").write_text(csv_text(rows, header=header))
    return study_config(
        "demo",
        headlines={"source": str(folder / "table.csv"), **headlines},
        adopt={"model": str(model)},
        extract={"layer": 1},
        train={"latent_dims": (64,), "num_epochs": 2, "batch_size": 128},
        analyze={"sae_size": "64", "top_features": 5},
    )


def weights_of(folder: Path) -> str:
    """The hash of a model's file of weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_weights_and_order_of_classes_are_unchanged(tmp_path: Path) -> None:
    """The copy is the same file, the logits are the same numbers, and labels mean the model's classes."""
    original = finbert_like(tmp_path / "model", ["positive", "negative", "neutral"])
    named = [(text, FINANCIAL[label]) for text, label in ROWS]
    record = pipeline.adopt(study_of(tmp_path, tmp_path / "model", named), tmp_path, CPU)
    classifier = present.load_classifier(tmp_path)
    assert weights_of(classifier.folder) == weights_of(tmp_path / "model")
    assert record.labels == ["positive", "negative", "neutral"] and record.finetune is None and record.test
    batch = classifier.tokenizer(["Shares surge on record profit"], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(classifier.model(**batch).logits, original(**batch).logits)
    split = present.same_headlines(tmp_path).test
    meant = {text: {"Bearish": 1, "Bullish": 0, "Neutral": 2}[name] for text, name in named}
    assert split.labels == [meant[text] for text in split.texts]
    tokens = classifier.tokenize(split.texts)
    with torch.inference_mode():
        found = [int(original(torch.tensor([one.input_ids])).logits.argmax()) for one in tokens]
    assert record.test.accuracy == pytest.approx(sum(map(int.__eq__, found, split.labels)) / len(found))


def test_a_table_without_labels_goes_the_whole_road(tmp_path: Path) -> None:
    """A headline's label is then the classifier's prediction, and the run says so."""
    finbert_like(tmp_path / "model", ["a", "b", "c", "d", "e"])
    study = study_of(tmp_path, tmp_path / "model", [(text,) for text, _ in ROWS], header=("text",))
    record = pipeline.adopt(study, tmp_path, CPU)
    assert not record.labelled and record.test is None
    pipeline.train(study.extract, study.train, tmp_path, CPU)
    run = read_run(pipeline.analyze(study, tmp_path, CPU))
    assert not run.metadata.labelled and run.metadata.classifier.report is None
    assert run.metadata.labels == ["a", "b", "c", "d", "e"]
    assert all(prompt.label == prompt.prediction for prompt in run.prompts)


def test_numbers_are_asked_about_where_the_order_is_another(tmp_path: Path) -> None:
    """0, 1, 2 could be the model's order or the default data set's; the map in the message settles it."""
    finbert_like(tmp_path / "model", ["positive", "negative", "neutral"])
    with pytest.raises(
        UserError, match=r"the classes are positive, negative, neutral.*--label-map=0=NAME,1=NAME,2=NAME"
    ):
        pipeline.adopt(study_of(tmp_path, tmp_path / "model", ROWS), tmp_path, CPU)
    given = "0=negative,1=positive,2=neutral"
    pipeline.adopt(study_of(tmp_path, tmp_path / "model", ROWS, label_map=given), tmp_path, CPU)
    assert sorted({*present.same_headlines(tmp_path).train.labels}) == [0, 1, 2]


def test_numbers_are_not_places_in_the_order_of_a_model(tmp_path: Path) -> None:
    """0 and 1, and 1 to 5 for stars, are asked about; LABEL_1 is the class that transformers calls so."""
    finbert_like(tmp_path / "two", ["POSITIVE", "NEGATIVE"])
    finbert_like(tmp_path / "five", [f"{n} star" for n in range(1, 6)])
    for model, labels in (("two", (0, 1)), ("five", (1, 2, 3, 4))):
        rows = [(text, labels[n % len(labels)]) for n, (text, _) in enumerate(ROWS)]
        with pytest.raises(UserError, match=r"unknown label .* --label-map=\d=NAME"):
            pipeline.adopt(study_of(tmp_path, tmp_path / model, rows), tmp_path, CPU)
    rows = [(text, f"LABEL_{label % 2}") for text, label in ROWS]
    pipeline.adopt(study_of(tmp_path, tmp_path / "two", rows), tmp_path, CPU)
    split = present.same_headlines(tmp_path).test
    assert split.labels == [dict(ROWS)[text] % 2 for text in split.texts]


def test_names_from_a_file_are_recorded_as_names(tmp_path: Path) -> None:
    """Later verbs need no such file."""
    finbert_like(tmp_path / "model", ["LABEL_0", "LABEL_1", "LABEL_2"])
    (tmp_path / "names.txt").write_text("down\nup\nflat\n")
    study = study_of(tmp_path, tmp_path / "model", ROWS, label_names=(str(tmp_path / "names.txt"),))
    assert pipeline.adopt(study, tmp_path, CPU).headlines.label_names == ("down", "up", "flat")
    (tmp_path / "names.txt").unlink()
    assert present.same_headlines(tmp_path).names == ("down", "up", "flat")


def test_unnamed_classes_get_names(tmp_path: Path) -> None:
    """LABEL_0 and its like are classes by their number, and --label-names says what they are."""
    finbert_like(tmp_path / "model", ["LABEL_0", "LABEL_1", "LABEL_2"])
    study = study_of(tmp_path, tmp_path / "model", [(text, f"LABEL_{label}") for text, label in ROWS])
    assert pipeline.adopt(study, tmp_path, CPU).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    study = study_of(tmp_path, tmp_path / "model", ROWS, label_names=("down", "up", "flat"))
    assert pipeline.adopt(study, tmp_path, CPU).labels == ["down", "up", "flat"]
    study = study_of(tmp_path, tmp_path / "model", ROWS, label_names=("down", "up"))
    with pytest.raises(UserError, match="has 3 classes, and --label-names has 2"):
        pipeline.adopt(study, tmp_path, CPU)


def test_what_is_no_classifier(tmp_path: Path) -> None:
    """An encoder without a head and a regression are refused before anything is read."""
    finbert_like(tmp_path / "twice", ["Positive", "positive", "neutral"])
    with pytest.raises(UserError, match="twice has 'positive' twice"):
        pipeline.adopt(study_config("demo", adopt={"model": str(tmp_path / "twice")}), tmp_path, CPU)
    finbert_like(tmp_path / "model", ["score"])
    for model, message in (("minilm", "no classification head"), (str(tmp_path / "model"), "a regression")):
        study = study_config("demo", adopt={"model": model})
        with pytest.raises(UserError, match=message):
            pipeline.adopt(study, tmp_path, CPU)


def test_labels_in_another_order_are_noticed(
    tmp_path: Path, classifier: Classifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where labels contradict the predictions, the scores are below chance and the fitting order is named."""
    texts = [text for text, _ in ROWS]
    tokens = classifier.tokenize(texts)
    with torch.inference_mode():
        found = [int(classifier.model(torch.tensor([one.input_ids])).logits.argmax()) for one in tokens]
    turned = [(text, FINANCIAL[(label + 1) % 3]) for text, label in zip(texts, found, strict=True)]
    pipeline.adopt(study_of(tmp_path, classifier.folder, turned), tmp_path, CPU)
    said = capsys.readouterr()
    assert "worse than chance" in said.out + said.err and "--label-map" in said.out + said.err


def test_the_same_adoption_is_reused(tmp_path: Path) -> None:
    """Nothing is copied twice."""
    finbert_like(tmp_path / "model", ["no", "yes"])
    study = study_of(tmp_path, tmp_path / "model", [(text, ("no", "yes")[label % 2]) for text, label in ROWS])
    first = pipeline.adopt(study, tmp_path, CPU)
    assert pipeline.adopt(study, tmp_path, CPU) == first
    assert len(list((tmp_path / "finbert_sae" / "store").iterdir())) == 1
