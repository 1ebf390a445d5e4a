"""A study says nothing about the machine it was made on, and finds its headlines there all the same."""

import shutil
from pathlib import Path

import fsspec
import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.study.layout import Layout
from tests.support.encoders import save_encoder
from tests.support.small_study import write_headlines
from viz_analysis.feature_probe_server import create_app

USER = "anna-k7"
LAYER = ["--layer", "2"]
SETTINGS = ["--preset", "demo", "--epochs", "1", "--batch-size", "8", "--class-weights", "true"]
VERBS = (
    ["train", *LAYER, "--latent-dims", "64,128", "--batch-size", "128", "--num-epochs", "1"],
    ["analyze", *LAYER, "--sae-size", "64"],
    ["intervene", "--steps", "2", "--bootstrap", "100", "--features-per-headline", "2"],
    ["finish", *LAYER, "--sae-size", "64"],
    ["compare", *LAYER, "--sae-size", "64", "--seeds", "0,1", "--probe-sizes", "1"],
    ["family"],
    ["export", *LAYER, "--sae-size", "64"],
    ["report"],
)
ANSWERS = ("runs", "run", "health", "headlines", "features", "feature_info?id=1", "run?run=999", "nothing")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a user, with headlines and an encoder."""
    home = tmp_path / "home" / USER
    write_headlines(home / "my.csv", 240)
    save_encoder("bert", home / "encoder")
    return home


def finetune(home: Path, root: str | Path, source: str = "my.csv") -> None:
    """Fine-tune on the files of a user."""
    files = ["--source", str(home / source), "--model", str(home / "encoder"), "--new-head", "true"]
    assert main(["finetune", "--root", str(root), *files, *SETTINGS]) == 0


def trains(capsys: pytest.CaptureFixture[str], home: Path, root: str | Path) -> bool:
    """Whether fine-tuning on the files of a user takes steps, instead of finding the classifier."""
    capsys.readouterr()
    finetune(home, root)
    return "fine-tune:" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which a command ends."""
    capsys.readouterr()
    assert main(arguments) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_no_path_in_any_artefact_or_answer(home: Path, tmp_path: Path) -> None:
    """After every verb, no file below the root and no answer of the server holds the user's name or a path."""
    root = tmp_path / "study"
    finetune(home, root)
    for verb in VERBS:
        assert main([verb[0], "--root", str(root), *verb[1:]]) == 0
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    secrets = [USER.encode(), str(tmp_path).encode()]
    telling = [path for path, data in files.items() if any(secret in data for secret in secrets)]
    assert telling == [Layout(root).places]
    assert sum(b"my.csv@" in data for data in files.values()) >= 3  # both classifier.json and metadata.json
    with create_app(root / "analysis_data").test_client() as client:
        answers = {name: client.get(f"/api/{name}").data for name in ANSWERS}
        assert b"my.csv@" in answers["run"] and b"encoder@" in answers["run"]
        (run,) = (root / "analysis_data").glob("*_run-*")
        (run / "metadata.json").write_text("{}")
        answers |= {f"{name}, damaged": client.get(f"/api/{name}").data for name in ANSWERS}
        shutil.rmtree(run)
        answers |= {f"{name}, without a run": client.get(f"/api/{name}").data for name in ANSWERS}
    assert b"analysis_data" in answers["run, without a run"]  # a place inside the study may be named
    assert [name for name, data in answers.items() if any(secret in data for secret in secrets)] == []


def test_headlines_that_have_moved(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A later verb says which file is missing; both ways out that it names find the headlines, or the classifier."""
    root = tmp_path / "study"
    assert trains(capsys, home, root)
    moved = home.rename(tmp_path / "elsewhere")
    message = refused(capsys, "extract", *LAYER, "--root", str(root))
    assert "my.csv@" in message and USER not in message
    monkeypatch.chdir(moved)
    assert main(["extract", *LAYER, "--root", str(root)]) == 0
    monkeypatch.chdir(tmp_path)
    assert not trains(capsys, moved, root)
    assert main(["extract", "--layer", "1", "--root", str(root)]) == 0


def test_study_that_has_moved(home: Path, tmp_path: Path) -> None:
    """Headlines inside the root are found wherever the study is and wherever the command is run."""
    root = home / "study"
    write_headlines(root / "data" / "my.csv", 240)
    finetune(home, root, "study/data/my.csv")
    assert not Layout(root).places.exists()
    moved = root.rename(tmp_path / "moved")
    assert main(["extract", *LAYER, "--root", str(moved)]) == 0


def test_places_are_not_sent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study at an address names no path; another machine says what it lacks."""
    address, memory = "memory://privacy", fsspec.filesystem("memory")
    memory.store.clear()
    monkeypatch.setenv("SAE_CACHE", str(tmp_path / "a"))
    finetune(home, address)
    assert main(["extract", *LAYER, "--root", address]) == 0
    monkeypatch.setenv("SAE_CACHE", str(tmp_path / "b"))
    assert "my.csv@" in refused(capsys, "extract", "--layer", "1", "--root", address)
    moved = home.rename(tmp_path / "elsewhere")
    assert not trains(capsys, moved, address)
    assert main(["extract", "--layer", "1", "--root", address]) == 0
    assert any(name.endswith("manifest.json") for name in memory.store)
    assert not [name for name, file in memory.store.items() if "/." in name or USER.encode() in file.getvalue()]
