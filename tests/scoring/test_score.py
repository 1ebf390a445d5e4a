"""`score`: a table in, the same table out, with what the classifier and the SAE say of its headlines."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.locks import locked
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs.folders import read_run
from tests.conftest import SmallStudy
from tests.whole.test_processes import torchrun

CHOSEN = (7, 3)


@pytest.fixture(scope="module")
def headlines(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test headlines of the small study's run, with other columns, some of whose names are ours too."""
    run = read_run(study.run)
    n = len(run.prompts)
    table = pa.table(
        {
            "headline": [prompt.text for prompt in run.prompts],
            "row": pa.array([f"key {i}" for i in range(n)]),
            "Entropy": pa.array(range(n), pa.int16()),
            "day": pa.array(np.datetime64("2024-01-01") + np.arange(n)),
        }
    )
    path = tmp_path_factory.mktemp("tables") / "headlines.parquet"
    parquet.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table without labels: empty headlines, duplicates, a link alone, and one that is too long; 12 rows."""
    texts = ["Shares rise", "", "  ", "Shares rise", "https://example.com/a", "Profit falls " * 300]
    path = tmp_path_factory.mktemp("tables") / "gaps.csv"
    lines = [f"{text},{n}" for n, text in enumerate([*texts, *texts])]
    path.write_text("\n".join(["text,n", *lines]), encoding="utf-8")
    return path


def score(study: SmallStudy, table: Path, out: Path, *flags: str) -> int:
    """Call the verb with the small study's larger SAE. Returns its exit code."""
    shared = ("--root", str(study.root), "--sae-size", "2k", "--device", "cpu")
    return main(["score", str(table), "--out", str(out), *shared, *flags])


@pytest.fixture(scope="module")
def scores(study: SmallStudy, headlines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The headlines, scored in parts of 50 rows, with two features chosen."""
    out = tmp_path_factory.mktemp("scored") / "scores"
    assert score(study, headlines, out, "--rows-per-part", "50", "--features", ",".join(map(str, CHOSEN))) == 0
    return out


@pytest.fixture(scope="module")
def scored_gaps(study: SmallStudy, gaps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table with gaps, scored in parts of 5 rows."""
    out = tmp_path_factory.mktemp("scored") / "gaps"
    assert score(study, gaps, out, "--rows-per-part", "5", "--features", "7") == 0
    return out


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- content -------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_run(study: SmallStudy, scores: Path) -> None:
    """Predictions and ids are the same; probabilities are, to the six digits that a run keeps."""
    run, rows = read_run(study.run), pd.read_parquet(scores / "rows")
    labels = run.metadata.labels
    probabilities = rows[[f"p_{label}" for label in labels]].to_numpy()
    np.testing.assert_allclose(probabilities, [prompt.probabilities for prompt in run.prompts], atol=2e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert rows["prediction"].tolist() == [labels[prompt.prediction] for prompt in run.prompts]
    assert rows["headline_id"].tolist() == [prompt.headline_id for prompt in run.prompts]
    assert rows["n_tokens"].tolist() == [sum(word >= 0 for word in prompt.words) for prompt in run.prompts]
    np.testing.assert_allclose(rows["score_entropy"], -(probabilities * np.log(probabilities)).sum(1))


def test_features_are_those_of_the_run(study: SmallStudy, scores: Path) -> None:
    """Maximum, mean and count agree with the positions and values that the run keeps of a headline's features."""
    run = read_run(study.run)
    features = pd.read_parquet(scores / "features")
    assert features[["row", "feature"]].equals(features[["row", "feature"]].sort_values(["row", "feature"]))
    entries = features.set_index(["row", "feature"])
    expected = [
        (record.headline, fired.feature, max(fired.values), sum(fired.values), len(fired.positions))
        for record in run.headline_features.headlines
        for fired in record.features
    ]
    found = entries.loc[[(row, feature) for row, feature, *_ in expected]]
    n_tokens = pd.read_parquet(scores / "rows")["n_tokens"].to_numpy()[[row for row, *_ in expected]]
    np.testing.assert_allclose(found["max"], [row[2] for row in expected], rtol=1e-3)
    assert np.mean(found["count"].to_numpy() == [row[4] for row in expected]) > 0.999  # a value may be next to 0
    np.testing.assert_allclose(found["mean"] * n_tokens, [row[3] for row in expected], rtol=1e-3, atol=1e-3)
    counts = features.groupby("feature").size().reindex(range(2048), fill_value=0).to_numpy()
    assert np.abs(counts - run.feature_stats.headline_counts).sum() <= 5


def test_chosen_features_are_dense(scores: Path) -> None:
    """A column per feature, in the order in which they were named: the maximum, 0 where silent."""
    chosen, features = pd.read_parquet(scores / "chosen"), pd.read_parquet(scores / "features")
    assert list(chosen.columns) == ["row", "f7", "f3"]
    for feature in CHOSEN:
        fired = features[features["feature"] == feature].set_index("row")["max"]
        expected = fired.reindex(chosen["row"], fill_value=0).to_numpy()
        np.testing.assert_array_equal(chosen[f"f{feature}"], expected)
    assert (chosen["f7"] > 0).any()


def test_columns_and_their_types_stay(headlines: Path, scores: Path) -> None:
    """The table's own columns are unchanged; ours are renamed where the table has the name, in any case."""
    given, rows = parquet.read_table(headlines), parquet.read_table(scores / "rows")
    assert rows.select(given.column_names).equals(given)
    assert rows.column_names[0] == "score_row" and rows["score_row"].to_pylist() == list(range(len(given)))
    assert rows.column_names[-1] == "score_entropy"
    assert json.loads((scores / "score.json").read_bytes())["names"]["row"] == "score_row"


def test_renamed_columns_are_said(
    study: SmallStudy, headlines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names them, another the column of the headlines; the last ones are counts and the folder."""
    assert score(study, headlines, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "ours are written 'row' as 'score_row', 'entropy' as 'score_entropy'" in printed
    assert "the headlines are in column 'headline'" in printed.lower()
    assert f"scores: {tmp_path / 'out'}" in printed


def test_rows_without_a_headline_stay(scored_gaps: Path) -> None:
    """They have no prediction and no features, and the others keep their numbers; duplicates have equal scores."""
    rows, features = pd.read_parquet(scored_gaps / "rows"), pd.read_parquet(scored_gaps / "features")
    empty = [1, 2, 4, 7, 8, 10]
    assert rows["row"].tolist() == list(range(12)) and rows["n"].tolist() == [str(n) for n in range(12)]
    for column in ("prediction", "p_Bearish", "entropy", "headline_id"):
        assert rows.index[rows[column].isna()].tolist() == empty
    assert sorted(set(features["row"])) == sorted(set(range(12)) - set(empty))
    assert rows["is_cut"].tolist() == [False] * 5 + [True] + [False] * 5 + [True]
    assert rows["headline_id"][0] == rows["headline_id"][3] == headline_id("Shares rise")
    np.testing.assert_allclose(rows["p_Bearish"][[0, 5]], rows["p_Bearish"][[6, 11]], atol=1e-5)
    assert (rows["n_tokens"][empty] == 0).all()
    chosen = pd.read_parquet(scored_gaps / "chosen")
    assert chosen.index[chosen["f7"].isna()].tolist() == empty


def test_the_record_counts(scored_gaps: Path) -> None:
    """Rows, empty and cut ones, and predictions are counted in each part, and all files are listed."""
    record = json.loads((scored_gaps / "score.json").read_bytes())
    parts = record["parts"]
    assert [part["n_rows"] for part in parts] == [5, 5, 2]
    assert [part["n_empty"] for part in parts] == [3, 2, 1]
    assert [part["n_cut"] for part in parts] == [0, 1, 1]
    assert sum(sum(part["predictions"].values()) for part in parts) == 6
    listed = {name for part in parts for name in part["files"]}
    assert files(scored_gaps).keys() == {*listed, "score.json"}
    assert record["inputs"]["table"].startswith("gaps.csv@")


# --- going on ------------------------------------------------------------------------------------------

_DYING = """
import os, signal, sys
from sae_pipeline.__main__ import main
from sae_pipeline.scoring.folder import ScoreFolder
keep = ScoreFolder.keep
def keep_or_die(self, number, part):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, number, part)
ScoreFolder.keep = keep_or_die
sys.exit(main())
"""


def test_a_killed_call_goes_on(study: SmallStudy, gaps: Path, scored_gaps: Path, tmp_path: Path) -> None:
    """After a kill in the second of three parts the same command keeps the first one and ends in the same bytes."""
    out = tmp_path / "out"
    flags = ("--root", str(study.root), "--sae-size", "2k", "--device", "cpu", "--rows-per-part", "5")
    command = [sys.executable, "-c", _DYING, "score", str(gaps), "--out", str(out), *flags, "--features", "7"]
    died = subprocess.run(command, capture_output=True, timeout=300)
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    assert not (out / "score.json").exists()
    first = out / "rows" / "part-00000.parquet"
    before = first.stat().st_mtime_ns
    assert score(study, gaps, out, "--rows-per-part", "5", "--features", "7") == 0
    assert first.stat().st_mtime_ns == before
    assert files(out) == files(scored_gaps)


def test_finished_scores_are_reused(study: SmallStudy, gaps: Path, scored_gaps: Path) -> None:
    """The same command again writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in scored_gaps.rglob("*")}
    assert score(study, gaps, scored_gaps, "--rows-per-part", "5", "--features", "7") == 0
    assert {path: path.stat().st_mtime_ns for path in scored_gaps.rglob("*")} == before


def test_damaged_scores_are_made_again(
    study: SmallStudy, gaps: Path, scored_gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify` finds the damage; the same command makes that part again and no other."""
    out = Path(shutil.copytree(scored_gaps, tmp_path / "out"))
    damaged = out / "features" / "part-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert main(["verify", "--root", str(out)]) == 2
    assert "DAMAGED" in (printed := capsys.readouterr().out) and "features/part-00001.parquet has changed" in printed
    whole = out / "features" / "part-00000.parquet"
    before = whole.stat().st_mtime_ns
    assert score(study, gaps, out, "--rows-per-part", "5", "--features", "7") == 0
    assert "what is whole of it is kept" in capsys.readouterr().out
    assert whole.stat().st_mtime_ns == before
    assert files(out) == files(scored_gaps)
    assert main(["verify", "--root", str(out)]) == 0


@pytest.mark.full
def test_two_processes_score_as_one(study: SmallStudy, gaps: Path, scored_gaps: Path, tmp_path: Path) -> None:
    """The files are the same byte for byte."""
    flags = ("--root", str(study.root), "--sae-size", "2k", "--device", "cpu", "--rows-per-part", "5")
    done = torchrun(2, "score", str(gaps), "--out", str(tmp_path / "out"), *flags, "--features", "7")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("scores: ") == 1
    assert files(tmp_path / "out") == files(scored_gaps)


def test_a_full_disk_ends_in_one_sentence(
    study: SmallStudy, gaps: Path, scored_gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was written stays, and the same command goes on when there is room."""
    out = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))  # writing beyond it fails as on a full disk
    try:
        assert score(study, gaps, out, "--rows-per-part", "5", "--features", "7") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"error: Cannot write to {out}: the file is larger than this disk allows" in capsys.readouterr().err
    assert not (out / "score.json").exists()
    assert score(study, gaps, out, "--rows-per-part", "5", "--features", "7") == 0
    assert files(out) == files(scored_gaps)


# --- bad input -----------------------------------------------------------------------------------------


def _file_in_place(out: Path) -> None:
    out.write_text("a file")


def _parent_is_a_file(out: Path) -> None:
    out.parent.rmdir()
    out.parent.write_text("a file")


def _other_content(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (_file_in_place, "cannot be a folder, as a file is in its place"),
        (_parent_is_a_file, "cannot be a folder, as a file is in its place"),
        (_other_content, r"holds something else \(notes.txt\); choose another folder with --out"),
    ],
)
def test_folders_that_cannot_be_used(
    study: SmallStudy,
    gaps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], None],
    sentence: str,
) -> None:
    """One sentence, and what is there stays as it is."""
    (tmp_path / "above").mkdir()
    prepare(tmp_path / "above" / "out")
    before = files(tmp_path)
    assert score(study, gaps, tmp_path / "above" / "out") == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--features", "2048"), "There is no feature 2048; this SAE has features 0 to 2047."),
        (("--features", "7,7"), "each feature is named once"),
        (("--sae-size", "64k"), "There is no SAE at"),
        (("--text-column", "body"), "has no column 'body' but text, n; name it by --text-column"),
    ],
)
def test_bad_settings(
    study: SmallStudy, gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Any, sentence: str
) -> None:
    """One sentence, and no folder is made."""
    assert score(study, gaps, tmp_path / "out", *flags) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bad_row_leaves_nothing_behind(study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found before a folder is made, so that the mended table is not one of other content."""
    path = tmp_path / "a.csv"
    path.write_text("text,n\nShares rise,1\ntoo,many,cells\n", encoding="utf-8")
    assert score(study, path, tmp_path / "out") == 2
    assert "line 3: more fields than columns" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_scores_is_refused(
    study: SmallStudy, gaps: Path, headlines: Path, scored_gaps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence says what differs; the scores stay as they are."""
    before = files(scored_gaps)
    assert score(study, headlines, scored_gaps) == 2
    assert "holds scores of another table (gaps.csv@" in capsys.readouterr().err
    assert score(study, gaps, scored_gaps, "--rows-per-part", "5") == 2
    assert "made with another choice of --features; choose another folder" in capsys.readouterr().err
    assert files(scored_gaps) == before


def test_one_process_at_a_time(
    study: SmallStudy, gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second command on a folder that is being written is refused."""
    (tmp_path / "out" / ".score").mkdir(parents=True)
    with locked(tmp_path / "out" / ".score" / ".lock"):
        assert score(study, gaps, tmp_path / "out") == 2
    assert "Another process writes into" in capsys.readouterr().err


def test_a_table_that_changes_meanwhile(
    study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of a table that was changed while it was read are not finished."""
    from sae_pipeline.scoring.folder import ScoreFolder

    path, keep = tmp_path / "a.csv", ScoreFolder.keep
    path.write_text("text\nShares rise\n", encoding="utf-8")

    def change(self: ScoreFolder, number: int, part: Any) -> None:
        keep(self, number, part)
        path.write_text("text\nShares fall\n", encoding="utf-8")
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(ScoreFolder, "keep", change)
    assert score(study, path, tmp_path / "out") == 2
    assert "has changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "score.json").exists()
