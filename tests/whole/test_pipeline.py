"""The verbs on real artefacts: what they write, what they reuse, how they fail, through the command line too."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.__main__ import main
from sae_pipeline.analysis.metrics import FEATURE_METRICS, Metric
from sae_pipeline.config import PRESETS, HeadlinesConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.runs.folders import read_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from sae_pipeline.study import making, present
from sae_pipeline.study.report import study_report
from tests.conftest import SmallStudy

CPU = torch.device("cpu")


@pytest.fixture
def copy(study: SmallStudy, tmp_path: Path) -> Path:
    """A copy of the small study that a test may change."""
    return Path(shutil.copytree(study.root, tmp_path / "copy", copy_function=_link))


def _link(source: str, target: str) -> None:
    """Immutable artefacts are linked, all else is copied."""
    if "store" in source or source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class TestRun:
    """The run of the small study, against the classifier and the SAE themselves."""

    def test_headlines_and_predictions(self, study: SmallStudy) -> None:
        """Every test headline, in order, with its label; probabilities sum to 1 and agree with the prediction."""
        run = read_run(study.run)
        test = load_headlines(study.config.headlines).test
        assert [p.text for p in run.prompts] == test.texts
        assert [p.label for p in run.prompts] == test.labels
        assert [p.headline_id for p in run.prompts] == test.ids
        for prompt in run.prompts:
            assert sum(prompt.probabilities) == pytest.approx(1, abs=1e-4)
            assert prompt.prediction == int(np.argmax(prompt.probabilities))
        report = run.metadata.classifier.report
        assert report.accuracy == pytest.approx(np.mean([p.label == p.prediction for p in run.prompts]))

    def test_features_equal_brute_force(self, study: SmallStudy) -> None:
        """Statistics, strongest features and examples equal a dense computation, one headline at a time."""
        run = read_run(study.run)
        classifier = present.load_classifier(study.root, CPU)
        sae = SparseAutoencoder.load(study.root / "finbert_sae" / "layer_4_2k.pt")
        dense = []
        for prompt in run.prompts:
            tokens = classifier.tokenize([prompt.text])[0]
            ids = torch.tensor([tokens.input_ids])
            with torch.inference_mode():
                hidden = classifier.model(input_ids=ids, output_hidden_states=True).hidden_states[4][0]
            acts = sae.encode(hidden).numpy()
            acts[[i for i, w in enumerate(tokens.words) if w < 0]] = 0
            dense.append(acts)
        counted = sum(sum(w >= 0 for w in p.words) for p in run.prompts)
        assert run.feature_stats.n_counted_tokens == counted == run.metadata.totals.n_counted_tokens
        columns = {m.name: np.array(m.values) for m in run.feature_stats.metrics}
        everything = np.concatenate(dense)
        np.testing.assert_allclose(columns["mean_activation"], everything.sum(0) / counted, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(columns["max_activation"], everything.max(0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(columns["fraction_active"], (everything > 0).sum(0) / counted, atol=3 / counted)
        for record, acts in zip(run.headline_features.headlines, dense, strict=True):
            strongest = np.sort(acts.max(0))[::-1][:10]
            np.testing.assert_allclose([f.activation for f in record.features], strongest, rtol=1e-3, atol=1e-3)
            for fired in record.features:
                np.testing.assert_allclose(fired.values, acts[fired.positions, fired.feature], rtol=1e-3, atol=1e-3)
                assert fired.activation == max(fired.values)
        peaks = np.stack([a.max(0) for a in dense])
        for saved in run.feature_tokens.features:
            strongest = np.sort(peaks[:, saved.feature])[::-1][:20]
            found = [e.activation for e in saved.examples]
            np.testing.assert_allclose(found, strongest[: len(found)], rtol=1e-3, atol=1e-3)
            assert len(found) == min(20, run.feature_stats.headline_counts[saved.feature])

    def test_examples_cover_every_leader(self, study: SmallStudy) -> None:
        """The top features of every metric that fire at all have examples, and a word that stands in the text."""
        run = read_run(study.run)
        saved = {f.feature for f in run.feature_tokens.features}
        for metric in run.feature_stats.metrics:
            assert len(metric.top) == 30
            values = np.array(metric.values)  # with 6 digits, where some are equal that were not when ordered
            assert len(set(metric.top)) == 30 and (np.diff(values[metric.top]) <= 0).all()
            assert values[metric.top[-1]] >= np.delete(values, metric.top).max()
            assert {f for f in metric.top if run.feature_stats.headline_counts[f]} <= saved
        for feature in run.feature_tokens.features:
            assert all(e.word in run.prompts[e.headline].text for e in feature.examples)

    def test_provenance(self, study: SmallStudy) -> None:
        """Metadata names every artefact, setting and version."""
        metadata = read_run(study.run).metadata
        assert metadata.hookpoint.layer == 4 and metadata.sae.size == "2k" and metadata.preset == "demo"
        assert set(metadata.sae_family) == {"1k", "2k"}
        assert (study.root / "finbert_sae" / "store" / metadata.classifier_hash).is_dir()
        assert (study.root / "finbert_sae" / "store" / metadata.sae_hash).is_dir()
        assert set(metadata.configs) == {"headlines", "finetune", "extract", "train", "analyze"}
        assert metadata.versions["torch"] == torch.__version__


def test_everything_is_reused(study: SmallStudy, copy: Path) -> None:
    """A second call of each stage returns the same artefacts and writes nothing new."""
    before = {p for p in copy.rglob("*") if p.is_file()}
    pipeline.finetune(study.config, copy, CPU)
    pipeline.train(study.config.extract, study.config.train, copy, CPU)
    assert present.equal_run(study.config, copy) is not None
    assert {p for p in copy.rglob("*") if p.is_file()} == before


def test_the_same_weights_from_other_settings(study: SmallStudy, copy: Path) -> None:
    """Settings that change nothing make an SAE that is there already: it is that one."""
    size = study.config.train.latent_dims[:1]
    before = making.ensure_saes(study.config.extract, [study.config.train], copy, CPU)
    other = study.config.train.model_copy(update={"latent_dims": size, "buffer_mib": 512})
    assert making.ensure_saes(study.config.extract, [other], copy, CPU) == before[:1]


def test_analysis_is_deterministic(study: SmallStudy, copy: Path) -> None:
    """Two analyses of the same inputs write the same bytes, metadata's time and number aside."""
    run = pipeline.analyze(study.config, copy, CPU)
    for name in (*RUN_FILES[1:], NEIGHBOURS, DECODER):
        assert (run / name).read_bytes() == (study.run / name).read_bytes()


def test_metric_of_ones_own(study: SmallStudy, copy: Path) -> None:
    """A registered metric appears in the run with label, description and its own top list; NaN is refused."""
    changed = study_config("demo", analyze={"sae_size": "1k", "max_samples": 9, "top_features": 5})
    own = Metric("headlines", "Headlines", "How many headlines it fires on.", lambda s: s.headline_counts * 1.0)
    run = read_run(pipeline.analyze(changed, copy, CPU, [*FEATURE_METRICS, own]))
    assert run.metadata.metrics[-1].label == "Headlines"
    assert run.feature_stats.metrics[-1].values == run.feature_stats.headline_counts
    assert len(run.prompts) == run.metadata.totals.n_headlines == 9
    runs = len(list((copy / "analysis_data").glob("*_run-*")))
    bad = Metric("bad", "Bad", "Not a number.", lambda s: s.headline_counts * np.nan)
    with pytest.raises(UserError, match="'bad': nan at index 0 is not a finite number; make it finite"):
        pipeline.analyze(changed, copy, CPU, [bad])
    assert len(list((copy / "analysis_data").glob("*_run-*"))) == runs


def test_sae_of_another_classifier(study: SmallStudy, copy: Path) -> None:
    """After the classifier is retrained, the old SAEs are refused by name; old runs stay readable."""
    again = study_config("demo", headlines=study.config.headlines.model_dump(), finetune={"epochs": 1, "seed": 5})
    again = again.model_copy(update={"analyze": study.config.analyze})
    pipeline.finetune(again, copy, CPU)
    with pytest.raises(UserError, match=r"layer_4_2k\.pt was trained on classifier .* train` again"):
        pipeline.analyze(again, copy, CPU)
    with pytest.raises(UserError, match="no SAEs of the present classifier"):
        study_report(copy)
    assert read_run(study.run).metadata.sae.size == "2k"


def test_headlines_that_changed_since(study: SmallStudy, copy: Path) -> None:
    """A source that no longer holds what the classifier was trained on is not silently used."""
    own = copy / "own.csv"
    shutil.copy(study.root / "headlines.csv", own)
    changed = study.config.model_copy(update={"headlines": HeadlinesConfig(source=str(own))})
    pipeline.finetune(changed, copy, CPU)
    own.write_text(own.read_text(encoding="utf-8") + "Brand new headline about nothing,Neutral\n", encoding="utf-8")
    with pytest.raises(UserError, match="have changed since the classifier was fine-tuned"):
        pipeline.analyze(changed, copy, CPU)


class TestCommandLine:
    """Flags, exit codes and one sentence per mistake."""

    def test_report(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The last line is one JSON object with the promised numbers; the page holds a plot for each question."""
        assert main(["report", "--root", str(copy), "--json"]) == 0
        page = (copy / "finbert_sae" / "training_report.html").read_text(encoding="utf-8")
        assert page.count("<svg") == page.count("<figcaption>") == 6 and "http-equiv" not in page
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(summary["saes"]) == {"1k", "2k"}
        for sae in summary["saes"].values():
            assert sae["l0"]["train"] > 0 and 0 < sae["fvu"]["held_out"] < 1
            assert 0 <= sae["dead_share"]["train"] <= 1 and 0 <= sae["spliced_accuracy"] <= 1
        assert 0 < summary["classifier"]["macro_f1"] <= summary["classifier"]["accuracy"] <= 1

    def test_sweep(self, study: SmallStudy, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Every combination is trained, each as it would be alone; the newest SAEs keep their names."""
        aliases = {p: p.read_bytes() for p in (copy / "finbert_sae").glob("*.pt")}
        flags = ["--root", str(copy), "--latent-dims", "256", "--batch-size", "256"]
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
        assert pipeline.train(study.config.extract, alone, copy, CPU)["256"].report.held_out.l0 > 0
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
            (["study", "--preset", "demo", "--latent-dims", "64,2048"], "choose --sae-size from 64, 2k"),
            (["train", "--device", "cuda:77"], "not available here"),
        ],
    )
    def test_mistakes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
    ) -> None:
        """Exit code 2, one sentence on stderr, nothing written."""
        root = [] if arguments == ["nonsense"] else ["--root", str(tmp_path)]
        assert main([*arguments, *root]) == 2
        error = capsys.readouterr().err
        assert "error: " in error and sentence in error and "Traceback" not in error
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

    def test_layer_that_does_not_exist(self, study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
        """The layers there are stand in the message."""
        assert main(["extract", "--root", str(study.root), "--layer", "9"]) == 2
        assert "layers 1 to 6" in capsys.readouterr().err

    def test_flags_are_the_fields(self) -> None:
        """Every field of every config is a flag of `study`, prefixed where two stages share the name."""
        from sae_pipeline.__main__ import _fields

        flags = [flag for _, _, flag, _ in _fields(["headlines", "finetune", "extract", "train", "analyze"])]
        assert len(flags) == len(set(flags))
        assert {"--source", "--model", "--layer", "--latent-dims", "--sae-size", "--finetune-seed", "--train-seed"} <= {
            *flags
        }

    def test_ctrl_c(self, tmp_path: Path) -> None:
        """Ctrl-C in the middle of fine-tuning: exit code 130, one line, a checkpoint to go on from."""
        process = subprocess.Popen(
            [sys.executable, "-m", "sae_pipeline", "finetune", "--preset", "demo", "--root", str(tmp_path)],
            env={**os.environ, "CHECKPOINT_SECONDS": "0.5"},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        checkpoints, store = (tmp_path / "finbert_sae" / name for name in ("checkpoints", "store"))
        deadline = time.monotonic() + 120
        while not list(checkpoints.glob("*/state.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130, error
        assert "Interrupted" in error and "Traceback" not in error
        assert not store.exists() and len(list(checkpoints.glob("*/state.safetensors"))) == 1

    def test_disk_that_cannot_be_written(self, study: SmallStudy, copy: Path) -> None:
        """A file size limit stands in for a full disk: one sentence, exit code 2, no run."""
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


def test_presets_differ_where_they_should() -> None:
    """The real preset is FinBERT on the hub's data, layer 8; the demo needs no hub."""
    finbert, demo = PRESETS["finbert"], PRESETS["demo"]
    assert finbert.finetune.model == "ProsusAI/finbert" and finbert.extract.layer == 8
    assert (demo.headlines.source, demo.finetune.model, demo.extract.layer) == ("sample", "minilm", 4)
    assert finbert.train == demo.train and finbert.train.latent_dims == (4096, 8192, 16384, 32768)
