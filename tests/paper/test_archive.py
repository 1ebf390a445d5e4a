"""`verify ARCHIVE`: a paper is made again from its archive, and what was altered in it is named."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import seal, without_seal
from sae_pipeline.paper.recompute import tolerance
from sae_pipeline.schema.paper import PAPER, Number
from tests.conftest import SmallStudy


def _edited(archive: Path, place: str, change: Callable[[bytes], bytes], into: Path) -> Path:
    """A copy of an archive in which one file is another."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(into, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            new.writestr(member, change(data) if re.search(place, member.filename) else data)
    return into


def _sealed(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """Change a sealed record and seal it again, as a person would who means to hide it."""

    def edit(data: bytes) -> bytes:
        record = json.loads(without_seal(data))
        change(record)
        return seal(json.dumps(record).encode())

    return edit


def _set_fvu(record: dict[str, Any]) -> None:
    next(n for n in record["numbers"] if n["name"] == "sae/2k/fvu/held_out")["value"] = 0.125
    next(n for n in record["numbers"] if n["name"] == "sae/1k/unchanged")["low"] = 0.5


def test_an_archive_is_made_again(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, an archive with weights gives every figure again."""
    out = tmp_path / "paper"
    assert main(["paper", "--root", str(study.root), "--out", str(out)]) == 0
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    capsys.readouterr()
    assert main(["verify", str(out / "archive.zip")]) == 0
    lines = capsys.readouterr().out.splitlines()
    outcome = {line.split()[1]: line.split()[0] for line in lines if line.startswith(("same", "noise", "recorded"))}
    held_out = [f"sae/{size}/{figure}" for size in ("1k", "2k") for figure in ("fvu/held_out", "unchanged", "kl")]
    for name in ("classifier/accuracy", "run/tokens", "figure-headline.pdf", "table-saes.tex", *held_out):
        assert outcome[name] == "same", name
    tested = {name for name in outcome if name.startswith("feature/") and name.endswith("tested")}
    assert tested and all(outcome[name] in ("same", "noise") for name in tested)
    assert outcome["sae/2k/seconds"] == "recorded"


@pytest.mark.full
def test_weights_find_a_changed_record(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that was changed in the paper and in its record alike is not what the weights give."""

    def lie(record: dict[str, Any]) -> None:
        record["report"]["held_out"]["fvu"] = 0.125

    out = tmp_path / "paper"
    assert main(["paper", "--root", str(study.root), "--out", str(out)]) == 0
    records = (study.root / "finbert_sae/store").glob("*/sae.json")
    store = next(path.parent.name for path in records if b"2048" in path.read_bytes())
    altered = _edited(out / "archive.zip", f"store/{store}/sae.json", _sealed(lie), tmp_path / "a.zip")
    altered = _edited(altered, PAPER, _sealed(_set_fvu), tmp_path / "b.zip")
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(altered)]) == 2
    assert "DIFFERENT  sae/2k/fvu/held_out  the paper says 0.125, made again it is 0.1" in capsys.readouterr().out


def test_what_was_altered_is_named(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number, a table and a drawing that are not those that were written: their names, and exit code 2."""
    monkeypatch.chdir(tmp_path)
    altered = paper / "archive.zip"
    changes: list[tuple[str, Callable[[bytes], bytes]]] = [
        (PAPER, _sealed(_set_fvu)),
        ("table-spliced", lambda data: re.sub(rb"& \d", b"& 7", data, count=1) + b"%"),
        ("figure-sizes", lambda data: data[:-9] + b"%" + data[-8:]),
    ]
    for n, (place, change) in enumerate(changes):
        altered = _edited(altered, place, change, tmp_path / f"{n}.zip")
    assert main(["verify", "--archive", str(altered)]) == 2
    printed = capsys.readouterr()
    different = {line.split()[1]: line for line in printed.out.splitlines() if line.startswith("DIFFERENT")}
    assert different.keys() == {"sae/2k/fvu/held_out", "sae/1k/unchanged", "table-spliced.tex", "figure-sizes.pdf"}
    assert "the paper says 0.125" in different["sae/2k/fvu/held_out"] and "line " in different["table-spliced.tex"]
    assert printed.err.count("error:") == 1 and "Traceback" not in printed.err


def test_a_damaged_run_in_an_archive(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A headline that is not the one that was written is named with its file."""
    monkeypatch.chdir(tmp_path)
    damaged = _edited(paper / "archive.zip", "prompts", lambda data: data.replace(b" ", b"  ", 1), tmp_path / "a.zip")
    assert main(["verify", str(damaged)]) == 2
    printed = capsys.readouterr()
    assert "DAMAGED" in printed.out and "prompts.jsonl" in printed.err and printed.err.count("error:") == 1


def test_an_archive_of_another_version(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence names both versions."""
    monkeypatch.chdir(tmp_path)
    other = _edited(
        paper / "archive.zip", PAPER, _sealed(lambda record: record.update(schema_version=7)), tmp_path / "other.zip"
    )
    assert main(["verify", str(other)]) == 2
    error = capsys.readouterr().err
    assert "version 7 of the format of papers, and this program reads version 1" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "n", "expected"),
    [
        ("sae/4k/l0/held_out", 60.0, None, 0.6),  # 1 %
        ("sae/4k/fvu/held_out", 0.002, None, 1e-4),
        ("sae/4k/spliced/unchanged", 0.99, 2000, 0.005),  # 0.5 % of the headlines
        ("sae/4k/spliced/unchanged", 0.99, 60, 1 / 60),  # or one of them
        ("classifier/macro_f1", 0.8, 2000, 0.01),
        ("sae/4k/dead", 0.2, None, 0.005),
        ("sae/4k/spliced/mcnemar_p", 0.5, None, 0.1),
        ("sae/4k/spliced/recovered/mean", 0.9, None, 0.02),
    ],
)
def test_noise(name: str, value: float, n: int | None, expected: float) -> None:
    """By how much a number may differ on another machine, as the last line of `verify` says."""
    number = Number(name=name, value=value, n=n, check="weights")
    assert tolerance(number) == pytest.approx(expected, abs=1e-9)
