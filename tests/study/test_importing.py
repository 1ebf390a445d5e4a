"""The verb import: an SAE of another library works like one that was trained here, and its figures are measured."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.runs.folders import load_run
from sae_pipeline.study.layout import Layout, aliased_saes, present_classifier
from sae_pipeline.study.report import study_report
from tests.conftest import SmallStudy
from tests.support import foreign_saes


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study, and its smaller SAE in the formats that hold it."""
    root = tmp_path_factory.mktemp("importing") / "study"
    shutil.copytree(study.root, root)
    for name in ("saelens", "dictionary-learning"):
        assert main(["export", "--root", str(root), "--sae-size", "1k", "--to", name]) == 0
    return root


def exported(root: Path, name: str) -> Path:
    """The folder of the exported SAE."""
    return root / "finbert_sae" / name / "layer_4_1k"


def test_an_imported_sae_is_read_like_a_trained_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the figures of the SAE it was exported from, a size of its own, and a run that says where it is from."""
    command = ["import", "--root", str(root), str(exported(root, "saelens"))]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "imported: standard from saelens, folder layer_4_1k, 1,024 features, kind relu" in said
    assert "`analyze --sae-size 1k-saelens` reads it" in said and "warning" not in said
    saes = aliased_saes(Layout(root), present_classifier(root).classifier_hash)
    assert list(saes) == ["1k", "1k-saelens", "2k"]
    trained, imported = saes["1k"], saes["1k-saelens"]
    assert imported.train is None and imported.config.recipe == "imported"
    assert imported.report.held_out.fvu == pytest.approx(trained.report.held_out.fvu, rel=1e-4)
    assert imported.report.held_out.l0 == pytest.approx(trained.report.held_out.l0, rel=1e-3)
    assert imported.report.spliced.unchanged == trained.report.spliced.unchanged

    assert main(command) == 0  # the equal one is reused
    assert sum(1 for _ in Layout(root).store.glob("*/sae.json")) == 3

    assert main(["analyze", "--root", str(root), "--sae-size", "1k-saelens", "--max-samples", "20"]) == 0
    about = load_run(root / "analysis_data").metadata
    assert about.sae.origin is not None and about.sae.size == "1k-saelens"
    assert (about.sae.origin.format, about.sae.origin.name) == ("saelens", "layer_4_1k")
    assert about.sae.origin.fvu == pytest.approx(trained.report.held_out.fvu, 1e-4) and "train" not in about.configs
    assert str(root) not in about.model_dump_json()
    assert set(about.sae_family) == {"1k", "1k-saelens", "2k"}
    assert any("1k-saelens" in line for line in study_report(root).lines())
    assert main(["verify", "--root", str(root)]) == 0
    capsys.readouterr()
    assert main(["compare", "--root", str(root), "--sae-size", "1k-saelens"]) == 2
    assert "was imported, so its training cannot be repeated" in capsys.readouterr().err


def test_exported_again(root: Path, tmp_path: Path) -> None:
    """An imported SAE can be exported, and is the same one again."""
    assert main(["import", "--root", str(root), str(exported(root, "saelens"))]) == 0
    command = ["export", "--root", str(root), "--sae-size", "1k-saelens", "--to", "dictionary-learning", "--out"]
    assert main([*command, str(tmp_path / "again")]) == 0
    one, two = (
        torch.load(f / "ae.pt", weights_only=True) for f in (exported(root, "dictionary-learning"), tmp_path / "again")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor)


def test_figures_that_do_not_fit(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recorded L0, FVU and classifier that differ are told, with both numbers, and the SAE is imported."""
    folder = tmp_path / "told"
    shutil.copytree(exported(root, "dictionary-learning"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["finbert_sae"] |= {"l0": 500.0, "fvu": 0.9, "classifier_hash": "f" * 12}
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["import", "--root", str(root), str(folder / "ae.pt")]) == 0
    said = capsys.readouterr().out
    assert "warning: L0 is " in said and "but the SAE's files say 500.0; it may be of another model" in said
    assert "warning: FVU is 0." in said and "files say 0.900" in said
    assert f"warning: The SAE was made for classifier {'f' * 12}" in said


def test_an_sae_of_another_model(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another width, layer or kind of positions is refused before anything is written."""
    before = sorted(path for path in root.rglob("*") if "checkpoints" not in path.parts)

    def said(*arguments: str) -> str:
        assert main(["import", "--root", str(root), *arguments]) == 2
        assert sorted(path for path in root.rglob("*") if "checkpoints" not in path.parts) == before
        return capsys.readouterr().err

    foreign_saes.sparsify(tmp_path / "narrow")
    assert "activations of width 12, the study's classifier has 384" in said(str(tmp_path / "narrow"))
    whole = str(exported(root, "saelens"))
    assert "reads hidden_states[4], but the study's layer is 3; use --layer 4" in said(whole, "--layer", "3")
    assert "was trained on words; use --positions words" in said(whole, "--positions", "all")
    assert "has no ae.pt, which an SAE of the format dictionary" in said(whole, "--from", "dictionary-learning")
    assert "import, from: Input should be 'saelens', 'dict" in said(whole, "--from", "pickle")
    assert "There is no" in said(str(tmp_path / "nowhere"))
    assert "the following arguments are required: PLACE" in said()


def test_no_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a classifier there is nothing to import for."""
    foreign_saes.sparsify(tmp_path / "sae")
    assert main(["import", "--root", str(tmp_path), str(tmp_path / "sae")]) == 2
    assert "There is no classifier" in capsys.readouterr().err


def test_a_missing_import_says_how_to_make_it_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error of an imported SAE that is gone names the verb import."""
    assert main(["analyze", "--root", str(root), "--sae-size", "9k-sparsify"]) == 2
    assert "make it first with `python -m sae_pipeline import`" in capsys.readouterr().err
