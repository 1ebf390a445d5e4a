"""`--seal`: sealed headlines are read by nothing before `unseal` opens them, once."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from sae_pipeline import pipeline
from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import read_record, write_record
from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.headlines.dataset import Headlines, load_headlines, open_sealed
from sae_pipeline.headlines.text import sealed_key
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.seal import Plan, SealedClaim, SealRecord
from sae_pipeline.study.layout import Layout
from sae_pipeline.study.present import run_parts
from sae_pipeline.study.seals import closed_keys, keep_sealed
from sae_pipeline.study.unseal import headline_peaks
from tests.conftest import SmallStudy
from tests.support.small_study import small_config, write_headlines


def texts(headlines: Headlines) -> set[str]:
    """The texts of all three splits."""
    return {text for split in (headlines.train, headlines.dev, headlines.test) for text in split.texts}


@pytest.fixture
def source(tmp_path: Path) -> HeadlinesConfig:
    """800 headlines in a folder of their own, a third of whose test split is sealed."""
    write_headlines(tmp_path / "headlines.csv", 800)
    return HeadlinesConfig(source=str(tmp_path / "headlines.csv"), seal=True)


def test_a_third_of_test_is_in_no_split(source: HeadlinesConfig) -> None:
    """Sealed headlines are a third of test, and their texts are nowhere in what `load_headlines` returns."""
    open_, sealed = load_headlines(source.model_copy(update={"seal": False})), load_headlines(source)
    kept = open_sealed(source)
    assert len(kept) == len(sealed.sealed_keys) == pytest.approx(len(open_.test) / 3, rel=0.2)
    assert sorted(kept.texts + sealed.test.texts) == sorted(open_.test.texts)
    assert (sealed.train, sealed.dev) == (open_.train, open_.dev)
    assert {sealed_key(text.upper() + " https://a.b/c") for text in kept.texts} == sealed.sealed_keys
    said = repr(sealed) + "\n".join(sealed.report.lines())
    assert not [text for text in kept.texts if text in said] and f"{len(kept)} more test headlines are sealed" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [("text,label\na {n},1\nb {n},0\n", "needs at least 30"), ("text\na {n}\n", "has none")],
)
def test_too_few_and_unlabelled(tmp_path: Path, text: str, says: str) -> None:
    """A table that leaves too few headlines in a third, or has no labels, is refused in one sentence."""
    head, _, rows = text.partition("\n")
    (tmp_path / "few.csv").write_text(head + "\n" + "".join(rows.format(n=n) for n in range(60)))
    with pytest.raises(UserError, match=says):
        load_headlines(HeadlinesConfig(source=str(tmp_path / "few.csv"), label_names=("x", "y"), seal=True), ("x", "y"))


def test_a_closed_seal_stays_closed(source: HeadlinesConfig, tmp_path: Path) -> None:
    """The same headlines without --seal are refused until the seal is opened, and the record holds no text."""
    layout, sealed = Layout(tmp_path), load_headlines(source)
    keep_sealed(layout, sealed)
    keep_sealed(layout, sealed)
    (path,) = layout.seals.iterdir()
    record = read_record(path, SealRecord)
    assert record.data_hashes == [sealed.data_hash] and closed_keys(layout) == sealed.sealed_keys
    assert not [text for text in open_sealed(source).texts if text in path.read_text()]
    with pytest.raises(UserError, match=f"{record.n_headlines} of these headlines are sealed in this study"):
        keep_sealed(layout, load_headlines(source.model_copy(update={"seal": False})))
    hashes = {"run_checksum": "0" * 64, "classifier_hash": "c", "sae_hash": "s"}
    opened = record.model_copy(
        update={"opened": Plan(opened_at="now", run_id="run-001", features=[], looks=3, **hashes)}
    )
    write_record(path, opened)
    keep_sealed(layout, sealed)  # another classifier of the same headlines does not close it again
    assert read_record(path, SealRecord) == opened


def test_headlines_that_a_run_shows_cannot_be_sealed(study: SmallStudy) -> None:
    """A seal on what was looked at already would claim too much."""
    config = HeadlinesConfig(source=str(study.root / "headlines.csv"), seal=True)
    with pytest.raises(UserError, match=r"run-001 shows .* so they were seen before"):
        keep_sealed(Layout(study.root), load_headlines(config))
    assert not Layout(study.root).seals.exists()


@pytest.fixture
def sealed_study(study: SmallStudy, tmp_path: Path) -> Path:
    """A copy of the small study with a seal on a third of its test headlines, as if they had been left out."""
    copy = tmp_path / "copy"
    for name in ("analysis_data", "finbert_sae"):
        shutil.copytree(study.root / name, copy / name, copy_function=os.link)
    shutil.copy(study.root / "headlines.csv", copy)
    config = HeadlinesConfig(source=str(copy / "headlines.csv"), seal=True)
    data_hash = json.loads(next(copy.glob("analysis_data/*_run-*/metadata.json")).read_bytes())["data_hash"]
    seal = SealRecord(sealed_at="now", keys=sorted(load_headlines(config).sealed_keys), data_hashes=[data_hash])
    (copy / "finbert_sae" / "seals").mkdir()
    write_record(copy / "finbert_sae" / "seals" / "abc.json", seal)
    return copy


def test_score_and_contrast_refuse_sealed_headlines(
    sealed_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that holds one is refused, and nothing is written."""
    out = tmp_path / "scores"
    command = ["score", str(sealed_study / "headlines.csv"), "--root", str(sealed_study), "--sae-size", "1k"]
    assert main([*command, "--out", str(out)]) == 2
    assert "this headline is sealed in the study" in capsys.readouterr().err and not out.exists()
    text = open_sealed(HeadlinesConfig(source=str(sealed_study / "headlines.csv"), seal=True)).texts[0]
    pairs = tmp_path / "pairs.json"
    pairs.write_text(json.dumps([{"before": text, "after": "Shares fall", "expected": "same"}]))
    assert main(["contrast", "--root", str(sealed_study), "--pairs", str(pairs), "--max-headlines", "1"]) == 2
    assert "holds 1 headlines that this study keeps sealed" in capsys.readouterr().err


def test_a_seal_opens_once(sealed_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --yes it stays closed; with it, claims are tested and recorded; a second opening is refused."""
    command = ["unseal", "--root", str(sealed_study), "--features", "345,1515", "--looks", "37"]
    assert main(command) == 2
    assert "The seal is still closed" in capsys.readouterr().err
    path = sealed_study / "finbert_sae" / "seals" / "abc.json"
    assert read_record(path, SealRecord).opened is None
    assert main([*command, "--yes"]) == 0
    assert "opened once" in capsys.readouterr().out
    record = read_record(path, SealRecord)
    assert record.opened is not None and record.opened.looks == 37 and record.opened.features == [345, 1515]
    assert record.result is not None and record.result.classifier.n_headlines == record.n_headlines
    assert [claim.feature for claim in record.result.claims] == [345, 1515]
    assert all(claim.auroc is None or claim.low <= claim.auroc <= claim.high for claim in record.result.claims)  # type: ignore[operator]
    _check_claims(sealed_study, record.result.claims)
    for features in ("345,1515", "7"):
        assert main(["unseal", "--root", str(sealed_study), "--features", features, "--yes"]) == 2
        assert "can be opened once only" in capsys.readouterr().err
    assert read_record(path, SealRecord) == record
    assert main(["report", "--root", str(sealed_study)]) == 0
    assert "sealed headlines, opened once" in capsys.readouterr().out


def _check_claims(root: Path, claims: list[SealedClaim]) -> None:
    """Each claim is about the class that the choosing half prefers; p is Mann–Whitney's, corrected by Holm."""
    run = read_run(next((root / "analysis_data").glob("*_run-*")))
    columns = {column.name: column.values for column in run.feature_stats.metrics}
    classifier, sae = run_parts(root, run.metadata, torch.device("cpu"))
    sealed = open_sealed(HeadlinesConfig(source=str(root / "headlines.csv"), seal=True))
    judge = HeldOut.read(classifier, "sealed", sealed.texts, sealed.labels, sae.config.hookpoint.layer)
    peaks = headline_peaks(judge, sae, [claim.feature for claim in claims])
    inside, p = np.array(sealed.labels), []
    for claim, peak in zip(claims, peaks.T, strict=True):
        scores = [columns[f"auroc_{label.lower()}"][claim.feature] for label in run.metadata.labels]
        assert (claim.label, claim.expected, claim.n) == (np.argmax(scores), max(scores), (peak > 0).sum())
        p.append(mannwhitneyu(peak[inside == claim.label], peak[inside != claim.label]).pvalue)
    small, large = sorted(p)
    assert sorted(claim.p or 0 for claim in claims) == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])


def test_a_killed_opening_goes_on_with_the_same_claims_only(
    sealed_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The opening is on the disk before a headline is read; then other claims are refused, and the time stays."""
    path = sealed_study / "finbert_sae" / "seals" / "abc.json"
    command = ["unseal", "--root", str(sealed_study), "--yes", "--features"]

    def killed(*_: object) -> None:
        assert read_record(path, SealRecord).opened is not None
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sae_pipeline.study.unseal.open_sealed", killed)
        patch.setattr("sae_pipeline.study.unseal.now", lambda: "2026-01-01T00:00:00+00:00")
        assert main([*command, "345"]) == 130
    assert closed_keys(Layout(sealed_study)) == frozenset()
    capsys.readouterr()
    assert main([*command, "345,7"]) == 2
    assert "were opened on 2026-01-01T00:00:00+00:00 with run-001" in capsys.readouterr().err
    table = sealed_study / "headlines.csv"
    text = table.read_text()
    lost = open_sealed(HeadlinesConfig(source=str(table), seal=True)).texts[0]
    table.write_text("\n".join(line for line in text.splitlines() if lost not in line))
    assert main([*command, "345"]) == 2
    assert "have changed since they were sealed" in capsys.readouterr().err
    table.write_text(text)
    assert main([*command, "345"]) == 0
    record = read_record(path, SealRecord)
    assert record.opened is not None and record.opened.opened_at == "2026-01-01T00:00:00+00:00"
    assert record.result is not None and record.opened.features == [345]


def test_no_seal_to_open(study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence says how headlines are sealed."""
    assert main(["unseal", "--root", str(study.root), "--yes"]) == 2
    assert "No headlines of run-001 are sealed; seal a third" in capsys.readouterr().err


@pytest.mark.full
def test_no_file_of_a_study_holds_a_sealed_headline(tmp_path: Path) -> None:
    """After finetune, extract, train, analyze and paper, no file but the table itself has a sealed text."""
    study = small_config(tmp_path)
    write_headlines(tmp_path / "headlines.csv", 800)
    headlines = study.headlines.model_copy(update={"seal": True})
    study = study.model_copy(
        update={
            "headlines": headlines,
            "finetune": study.finetune.model_copy(update={"epochs": 1}),
            "train": study.train.model_copy(update={"latent_dims": (1024,)}),
            "analyze": study.analyze.model_copy(update={"sae_size": "1k"}),
        }
    )
    device = torch.device("cpu")
    pipeline.finetune(study, tmp_path, device)
    pipeline.train(study.extract, study.train, tmp_path, device)
    pipeline.analyze(study, tmp_path, device)
    assert main(["paper", "--root", str(tmp_path), "--out", str(tmp_path / "paper"), "--weights", "no"]) == 0
    sealed = [text.encode() for text in open_sealed(headlines).texts]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "headlines.csv"]
    assert len(sealed) >= 30 and len(files) > 20
    found = [(path.name, text) for path in files for data in [path.read_bytes()] for text in sealed if text in data]
    assert not found
