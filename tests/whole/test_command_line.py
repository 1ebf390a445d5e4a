"""The command line: flags, output, exit codes and one sentence per mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.__main__ import main
from sae_pipeline.study import present
from sae_pipeline.study.layout import SaeRecord
from tests.conftest import SmallStudy

CPU = torch.device("cpu")


def test_report(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is one JSON object with the main figures, and the page has six plots with captions."""
    assert main(["report", "--root", str(copy), "--json"]) == 0
    page = (copy / "finbert_sae" / "training_report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("<figcaption>") == 6 and "http-equiv" not in page
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(summary["saes"]) == {"1k", "2k"}
    for sae in summary["saes"].values():
        assert sae["l0"]["train"] > 0 and 0 < sae["fvu"]["held_out"] < 1
        assert 0 <= sae["dead_share"]["train"] <= 1 and 0 <= sae["spliced_accuracy"] <= 1
    assert 0 < summary["classifier"]["macro_f1"] <= summary["classifier"]["accuracy"] <= 1


def test_sweep(study: SmallStudy, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep trains every combination as if it were alone, and leaves the aliases as they are."""
    aliases = {p: p.read_bytes() for p in (copy / "finbert_sae").glob("*.pt")}
    flags = ["--root", str(copy), "--latent-dims", "256", "--batch-size", "256", "--num-epochs", "3"]
    assert main(["sweep", *flags, "--l1-coefficients", "5e-4,2e-3", "--seeds", "0,1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("256")]
    assert sorted((row[3], row[4]) for row in rows) == [(l1, s) for l1 in ("0.0005", "0.002") for s in "01"]
    l0 = {(row[3], row[4]): float(row[5]) for row in rows}
    assert l0["0.0005", "0"] > l0["0.002", "0"]
    assert len({tuple(row[5:]) for row in rows}) == 4
    assert {p: p.read_bytes() for p in (copy / "finbert_sae").glob("*.pt")} == aliases
    before = set((copy / "finbert_sae" / "store").iterdir())
    alone = study.config.train.model_copy(
        update={"latent_dims": (256,), "batch_size": 256, "l1_coefficient": 2e-3, "seed": 1}
    )
    record = pipeline.train(study.config.extract, alone, copy, CPU)["256"]
    assert record.report.held_out.l0 > 0
    assert (record.device, record.backend) == ("cpu", present.kernel_backend(CPU))
    older = SaeRecord.model_validate(record.model_dump(exclude={"backend", "device"}))
    assert (older.backend, older.device) == (None, None), "records that were written before have no such fields"
    assert set((copy / "finbert_sae" / "store").iterdir()) == before  # found, not trained again


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "invalid choice"),
        (["train", "--no-such-flag", "1"], "unrecognized arguments"),
        (["train", "--num-epochs", "many"], "num_epochs"),
        (["train", "--latent-dims", "64,64"], "different sizes"),
        (["extract"], "There is no classifier"),
        (["report"], "There is no classifier"),
        (["finetune", "--source", "missing.csv"], "missing.csv"),
        (["finetune", "--source", "sample", "--model", "."], "no config.json"),
        (["finetune", "--source", "sample", "--model", "minilm", "--max-length", "9999"], "use --max-length"),
        (["study", "--latent-dims", "64,2048", "--sae-size", "32k"], "choose --sae-size from 64, 2k"),
        (["study", "--sae-size", "32k"], "name its size by --latent-dims too"),
        (["train", "--device", "cuda:77"], "not available here"),
        (["import", "n" * 300], "is too long; name a shorter one"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    """A mistake ends with exit code 2 and one sentence on stderr, and nothing is written."""
    root = [] if arguments == ["nonsense"] else ["--root", str(tmp_path)]
    assert main([*arguments, *root]) == 2
    error = capsys.readouterr().err
    assert "error: " in error and sentence in error and "Traceback" not in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("started", "program"),
    [
        ("/usr/bin/sae-explorer", "sae-explorer"),
        ("C:/Scripts/sae-explorer.exe", "sae-explorer"),
        ("/site-packages/sae_explorer/__main__.py", "python -m sae_explorer"),
        ("/site-packages/sae_pipeline/__main__.py", "python -m sae_pipeline"),
    ],
)
def test_messages_name_the_program_that_runs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    started: str,
    program: str,
) -> None:
    """An empty folder is pointed to the verb that makes a whole study, by all exports alike."""
    monkeypatch.setattr(sys, "argv", [started])
    for arguments in (["export"], ["export", "--to", "html"], ["train"]):
        assert main([*arguments, "--root", str(tmp_path)]) == 2
        assert f"`{program} study`" in capsys.readouterr().err


def test_a_package_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version before may have needed fewer packages."""
    monkeypatch.delitem(sys.modules, "sae_pipeline.explaining.endpoint", raising=False)
    monkeypatch.delitem(sys.modules, "sae_pipeline.explaining.explain", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert main(["explain", "--root", str(tmp_path), "--endpoint", "http://127.0.0.1:9", "--model", "m"]) == 2
    assert capsys.readouterr().err.startswith("error: The package httpx is missing; run `pip install -r")


def test_layer_that_does_not_exist(study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the layers that exist."""
    assert main(["extract", "--root", str(study.root), "--layer", "9"]) == 2
    assert "layers 1 to 6" in capsys.readouterr().err


def test_flags_are_the_fields() -> None:
    """Each field of the configs is a flag of `study`, with its stage in front where two stages share the name."""
    from sae_pipeline.flags import _fields

    flags = [flag for _, _, flag, _ in _fields(["headlines", "finetune", "extract", "train", "analyze"])]
    assert len(flags) == len(set(flags))
    assert {"--source", "--model", "--layer", "--latent-dims", "--sae-size", "--finetune-seed", "--train-seed"} <= {
        *flags
    }


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C during fine-tuning gives exit code 130 and one line, and leaves a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sae_pipeline", "finetune", "--preset", "demo", "--root", str(tmp_path)],
        env={**os.environ, "CHECKPOINT_SECONDS": "0.5"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    checkpoints, store = (tmp_path / "finbert_sae" / name for name in ("checkpoints", "store"))
    while not list(checkpoints.glob("*/state.safetensors")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Interrupted" in error and "Traceback" not in error
    assert not store.exists() and len(list(checkpoints.glob("*/state.safetensors"))) == 1


def test_output_that_goes_to_a_full_disk(copy: Path) -> None:
    """One sentence and exit code 2, also where Python would only notice as it ends."""
    command = [sys.executable, "-m", "sae_pipeline", "verify", "--root", str(copy)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: Cannot write a temporary file or what this command prints: the disk is full; free some space and run "
        "the same command again.\n"
    )


def test_disk_that_cannot_be_written(copy: Path) -> None:
    """A full disk, simulated by a file size limit, gives one sentence and exit code 2, and no run."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from sae_pipeline.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    before = sorted((copy / "analysis_data").glob("*_run-*"))
    for verb in (["analyze", "--sae-size", "1k"], ["train", "--latent-dims", "512", "--batch-size", "256"]):
        done = subprocess.run(
            [sys.executable, "-c", limited, *verb, "--root", str(copy)], capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr[-2000:]
        assert "error: " in done.stderr and "Traceback" not in done.stderr
    assert sorted((copy / "analysis_data").iterdir()) in (before, [copy / "analysis_data" / ".lock", *before])
    assert not list((copy / "finbert_sae").rglob(".partial*"))
