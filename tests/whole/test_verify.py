"""`verify`: a line for each artefact, and exit code 2 when one of them is damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sae_pipeline.__main__ import main
from tests.conftest import SmallStudy


def _flipped(path: Path) -> None:
    """Flip a bit in the middle of a file, and keep its time of change."""
    data, status = bytearray(path.read_bytes()), path.stat()
    data[-len(data) // 3] ^= 1
    path.unlink()  # the other names of its content stay whole
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_every_artefact_of_a_study_is_whole(study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    """Classifier, activations, SAEs, their aliases and the run each have a line."""
    assert main(["verify", "--root", str(study.root)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    places = {line.split()[1] for line in lines if line.startswith("whole")}
    store = {path.relative_to(study.root).as_posix() for path in (study.root / "finbert_sae" / "store").iterdir()}
    assert places >= {*store, "finbert_sae/classifier.json", f"analysis_data/{study.run.name}"}
    assert {place for place in places if place.endswith(".pt")} == {
        f"finbert_sae/layer_4_{size}.pt" for size in ("1k", "2k")
    }
    assert last.startswith(f"{len(lines)} artefacts") and "are as they were written" in last


def test_a_site_and_an_unfinished_index_are_not_damage(copy: Path) -> None:
    """A site has a manifest of its own, and an index without its record is not used."""
    (copy / "site" / "data").mkdir(parents=True)
    (copy / "site" / "data" / "manifest.json").write_text("{}")
    next(copy.glob("analysis_data/*/index.json")).unlink()
    assert main(["verify", "--root", str(copy)]) == 0


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("finbert_sae/classifier.json", "finetune` to make it again"),
        ("finbert_sae/layer_4_1k.pt", "is not an SAE of the store"),
        ("finbert_sae/store/*/model.safetensors", "model.safetensors has changed"),
        ("finbert_sae/store/*/tokenizer.json", "tokenizer.json has changed"),
        ("finbert_sae/store/*/sae.pt", "sae.pt has changed"),
        ("finbert_sae/store/*/sae.json", "sae.json has"),
        ("finbert_sae/activations/*/acts-00000.safetensors", "extract` to make it again"),
        ("finbert_sae/activations/*/manifest.json", "manifest.json has"),
        ("analysis_data/*/prompts.jsonl", "prompts.jsonl"),
        ("analysis_data/*/decoder.safetensors", "decoder.safetensors"),
        ("analysis_data/*/metadata.json", "metadata.json"),
    ],
)
def test_damage_is_named(copy: Path, capsys: pytest.CaptureFixture[str], pattern: str, says: str) -> None:
    """The line of the damaged artefact names the file and what to do, and all other artefacts are whole."""
    _flipped(next(copy.glob(pattern)))
    assert main(["verify", "--root", str(copy)]) == 2
    printed = capsys.readouterr()
    damaged = [line for line in printed.out.splitlines() if line.startswith("DAMAGED")]
    assert len(damaged) == 1 and says in damaged[0]
    assert "1 of " in printed.err and "are damaged" in printed.err


def test_hand_written_labels_are_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels without a checksum are somebody's own; JSON that breaks off is damaged."""
    labels = copy / "analysis_data" / "labels" / "abc.json"
    labels.parent.mkdir()
    labels.write_text('{"schema_version": 1, "sae_hash": "abc", "labels": {}}')
    assert main(["verify", "--root", str(copy)]) == 0
    labels.write_text('{"schema_version": 1, "sae_')
    assert main(["verify", "--root", str(copy)]) == 2
    assert "labels/abc.json" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "part"), [("zip", "analysis_data"), ("gztar", ".")])
def test_archives(
    study: SmallStudy, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, part: str
) -> None:
    """An archive of a study or of its runs is checked like a folder."""
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, study.root, part)
    assert main(["verify", "--archive", archive]) == 0
    assert study.run.name in capsys.readouterr().out
    _flipped(next(copy.glob("analysis_data/*/feature_stats.json")))
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, copy, part)
    assert main(["verify", "--archive", archive]) == 2


def _text(path: Path) -> None:
    path.write_text("no archive")


def _outside(path: Path) -> None:
    import tarfile

    with tarfile.open(path, "w") as file:
        file.add(__file__, "../outside.py")


@pytest.mark.parametrize("make", [_text, _outside, Path.mkdir, lambda path: None])
def test_what_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None]) -> None:
    """One sentence for another file, for a folder, for nothing, and for an archive that would write elsewhere."""
    path = tmp_path / "study.tar"
    make(path)
    assert main(["verify", "--archive", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path} is no archive that can be unpacked") and error.count("\n") == 1


def test_nothing_to_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without artefacts is likely the wrong one."""
    assert main(["verify", "--root", str(tmp_path)]) == 2
    assert "There are no artefacts" in capsys.readouterr().err
