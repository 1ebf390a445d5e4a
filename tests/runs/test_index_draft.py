"""An index that is filled while a run is written: the same as one that is made from the run's files."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.config import study_config
from sae_pipeline.runs.drafts import RunDraft
from sae_pipeline.runs.fit import RunShape
from sae_pipeline.runs.index import INDEX, build_index, index_is_current, index_new_run
from sae_pipeline.runs.index_draft import PARTIAL
from sae_pipeline.schema.common import HEADLINE_FEATURES, PROMPTS
from sae_pipeline.schema.run import SaeInfo
from tests.conftest import SmallStudy
from tests.support.indexed_runs import client_of, get
from tests.support.run_factory import D_IN, LABELS, metadata, write_run

CELLS = {"when": ["2024-01-02", None, "2024-05"], "n": [3, 2.5, None, 7]}


def tables(index: Path) -> dict[str, list[Any]]:
    """All rows of all tables in their order; what FTS5 keeps of the words is in tables of its own."""
    with closing(sqlite3.connect(index)) as sql:
        names = [name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        names.remove("headline_text")
        return {name: sql.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def written(folder: Path, spoil: Callable[[RunDraft], None] = lambda _: None, **options: Any) -> tuple[Path, RunDraft]:
    """A run whose index was begun while it was written; `spoil` may change the draft of it."""
    drafts = []
    sae = SaeInfo(**metadata({"n_headlines": 0, "n_features": 512}, 1)["sae"])

    def begin(draft: RunDraft) -> None:
        draft.index_headlines(RunShape(LABELS, list(options.get("columns", {})), True, sae))
        spoil(draft)
        drafts.append(draft)

    return write_run(folder, d_sae=512, also=begin, **options), drafts[0]


@pytest.mark.parametrize("options", [{"n_headlines": 1201}, {"n_headlines": 30, "columns": CELLS}, {"n_headlines": 1}])
def test_it_equals_an_index_that_is_made_from_the_files(tmp_path: Path, options: dict[str, Any]) -> None:
    decoder = np.random.default_rng(0).normal(size=(512, D_IN)).astype(np.float16)
    run, draft = written(tmp_path / "runs", decoder=decoder, **options)
    read: list[int] = []
    build_index(run, lambda done, _: read.append(done), draft=draft.index)
    assert index_is_current(run) and not (run / PARTIAL).exists()
    from_files = build_index(run, into=tmp_path)
    assert tables(run / INDEX) == tables(from_files)
    per_headline = sum((run / name).stat().st_size for name in (PROMPTS, HEADLINE_FEATURES))
    every_file = sum(path.stat().st_size for path in run.iterdir() if path.suffix in (".json", ".jsonl"))
    assert read[-1] < every_file - per_headline + 1000, "the headlines are not read again"


def test_what_analyze_leaves_is_a_whole_index(study: SmallStudy, tmp_path: Path) -> None:
    root = Path(shutil.copytree(study.root, tmp_path / "study"))
    config = study_config("demo", analyze={"sae_size": "1k", "max_samples": 40})
    run = pipeline.analyze(config, root, torch.device("cpu"))
    assert index_is_current(run) and not (run / PARTIAL).exists()
    assert tables(run / INDEX) == tables(build_index(run, into=tmp_path))
    assert get(client_of(root / "analysis_data"), "runs")["runs"][0]["n_headlines"] == 40


@pytest.mark.parametrize("n", [20, 1001])  # it fails at the end, or while headlines are added
def test_where_it_fails_the_index_is_made_from_the_files(tmp_path: Path, n: int) -> None:
    run, draft = written(tmp_path / "runs", lambda draft: draft.index.close(), n_headlines=n)
    assert draft.index.headlines is None and not (run / PARTIAL).exists()
    index_new_run(run, draft.index)
    assert tables(run / INDEX) == tables(build_index(run, into=tmp_path))


def test_a_killed_writer_leaves_no_index(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from tests.runs.test_index_draft import written
written(Path(sys.argv[1]), lambda draft: (print(draft.folder, flush=True), time.sleep(60)), n_headlines=3)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    left = Path(writer.stdout.readline().strip())
    assert (left / PARTIAL).exists()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_run(tmp_path, 3, 16)
    assert not left.exists() and not list(tmp_path.rglob("*index*"))
