"""Trackers: off unless asked for, the same bits with and without, and the figures under the names of SAELens."""

import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sae_pipeline.__main__ import main
from sae_pipeline.config import TrackConfig
from sae_pipeline.errors import UserError
from sae_pipeline.study.layout import Layout
from sae_pipeline.tracking import no_tracking, tracking
from tests.support.encoders import save_encoder
from tests.support.small_study import write_headlines

_TRAIN = ["--latent-dims", "64,128", "--batch-size", "256", "--num-epochs", "1"]


@pytest.mark.full
def test_tensorboard(tmp_path: Path) -> None:
    """Every training has a record; the weights are those of a training without one."""
    write_headlines(tmp_path / "my.csv", 240)
    save_encoder("bert", tmp_path / "encoder")
    tracked, root = ["--report-to", "tensorboard"], ["--preset", "demo", "--root", str(tmp_path / "study")]
    model = ["--source", str(tmp_path / "my.csv"), "--model", str(tmp_path / "encoder"), "--new-head", "true"]
    assert main(["finetune", *model, "--epochs", "1", "--batch-size", "8", *root, *tracked]) == 0
    assert main(["train", "--layer", "2", *_TRAIN, *root]) == 0
    layout = Layout(tmp_path / "study")
    plain = {folder.name for folder in layout.store.glob("*")}
    for record in layout.store.glob("*/sae.json"):
        shutil.rmtree(record.parent)
    assert main(["train", "--layer", "2", *_TRAIN, *root, *tracked]) == 0
    assert {folder.name for folder in layout.store.glob("*")} == plain
    assert main(["finish", "--sae-size", "64", "--layer", "2", *root, *tracked]) == 0
    files = [path for path in (layout.root / "tracking").rglob("*") if path.is_file()]
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]  # no path of this machine
    records = {path.name.rpartition("-")[0]: path for path in (layout.root / "tracking" / "finbert-sae").iterdir()}
    assert set(records) == {"classifier", "layer_2_64", "layer_2_128", "layer_2_64-e2e"}
    assert {"train/loss", "train/learning_rate", "eval/macro_f1"} <= series(records["classifier"]).keys()
    sae = series(records["layer_2_128"])
    saved = torch.load(layout.weights / "layer_2_128.pt", weights_only=True)["config"]
    assert set(sae) == {
        "losses/mse_loss",
        "metrics/l0",
        "metrics/explained_variance",
        "sparsity/dead_features",
        "details/current_learning_rate",
        "details/sparsity_coefficient",
        "details/n_training_samples",
    }
    steps = [step for step, _ in sae["metrics/l0"]]
    assert steps == sorted(set(steps)) and steps[0] == 1
    assert sae["details/sparsity_coefficient"][-1][1] == pytest.approx(saved["sparsity_weight"])
    assert sae["details/n_training_samples"][0][1] == 256
    assert all(0 < value <= 128 for _, value in sae["metrics/l0"])
    first, last = (sae["losses/mse_loss"][i][1] / (1 - sae["metrics/explained_variance"][i][1]) for i in (0, -1))
    assert first == pytest.approx(last, rel=0.5)  # both are the power of x_norm, about d_in
    assert "losses/kl" in series(records["layer_2_64-e2e"])


def series(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The steps and values in the event files of a folder, by name."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_absent_and_failing_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing package is one sentence with the way to it; a tracker that fails later stops alone."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "trackio", None)
    for name in ("wandb", "trackio"):
        with pytest.raises(UserError, match=f"pip install {name}"), tracking(TrackConfig(report_to=name), tmp_path):
            pass
    place = tmp_path / "file"
    place.touch()
    config = TrackConfig(report_to="tensorboard", report_folder=str(place))
    with pytest.raises(UserError, match="tensorboard cannot start"), tracking(config, tmp_path) as start:
        start("a", {})
    with tracking(TrackConfig(report_to="tensorboard"), tmp_path) as start:
        log = start("a", {})
        log(1, {"x": "not a number"})  # type: ignore[dict-item]
        log(2, {"x": 1.0})
    assert capsys.readouterr().out.count("tensorboard has failed") == 1
    no_tracking("a", {})(1, {"x": 1.0})
    assert main(["train", "--report-to", "mlflow", "--root", str(tmp_path)]) == 2
    assert "report_to" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_other_trackers_offline(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb offline and trackio keep a record of each of two trainings at once on this machine."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip(name)
    with tracking(TrackConfig(report_to=name, report_folder=str(tmp_path / "records")), tmp_path) as start:
        logs = [start(f"sae-{n}", {"n": n}) for n in (1, 2)]
        for step in (1, 2):
            for log in logs:
                log(step, {"metrics/l0": float(step)})
    if name == "wandb":
        assert len(list((tmp_path / "records" / "wandb").glob("offline-run-*/*.wandb"))) == 2
    else:
        assert list((tmp_path / "trackio").glob("finbert-sae*"))


def test_a_trackers_own_thread_that_cannot_write_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tracker's next call says so. Errors of another kind are printed as ever."""

    def fail(error: Exception) -> None:
        raise error

    def in_a_thread(error: Exception) -> str:
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
        return capsys.readouterr().err

    before = threading.excepthook
    threading.excepthook = threading.__excepthook__  # pytest has one of its own
    try:
        with tracking(TrackConfig(report_to="tensorboard"), tmp_path):
            assert in_a_thread(OSError(28, "No space left on device")) == ""
            assert "KeyError" in in_a_thread(KeyError("a"))
        assert "OSError" in in_a_thread(OSError(28, "No space left on device"))
    finally:
        threading.excepthook = before
