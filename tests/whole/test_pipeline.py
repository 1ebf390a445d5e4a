"""The verbs of `pipeline` on real artefacts: what they write, what they reuse and how they fail."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.analysis.metrics import FEATURE_METRICS, Metric
from sae_pipeline.config import PRESETS, HeadlinesConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.runs.folders import list_runs, read_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from sae_pipeline.study import making, present
from sae_pipeline.study.report import study_report
from tests.conftest import SmallStudy
from tests.support.small_study import small_config

CPU = torch.device("cpu")


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


def test_everything_is_reused(copy: Path) -> None:
    """A second call of each stage returns the same artefacts and writes nothing new."""
    config = small_config(copy)
    before = {p for p in copy.rglob("*") if p.is_file()}
    pipeline.finetune(config, copy, CPU)
    pipeline.train(config.extract, config.train, copy, CPU)
    assert present.equal_run(config, copy) is not None
    assert {p for p in copy.rglob("*") if p.is_file()} == before


def test_a_run_is_not_reused_for_other_cells(copy: Path) -> None:
    """Another column, or another ticker beside the same headline, makes a new run and no new classifier."""
    config, table = small_config(copy), copy / "headlines.csv"
    written = table.read_text(encoding="utf-8")
    for changed in (written.replace(",AAPL", ",NVDA"), written.replace("date,ticker", "date,firm")):
        table.write_text(changed, encoding="utf-8")
        assert present.equal_run(config, copy) is None
    table.write_text(written, encoding="utf-8")
    assert present.equal_run(config, copy) is not None


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
    runs = len(list_runs(copy / "analysis_data"))
    bad = Metric("bad", "Bad", "Not a number.", lambda s: s.headline_counts * np.nan)
    with pytest.raises(UserError, match="'bad': nan at index 0 is not a finite number; make it finite"):
        pipeline.analyze(changed, copy, CPU, [bad])
    twice = dataclasses.replace(own, name="entropy")
    with pytest.raises(UserError, match=r"own checks \(metadata.json, metrics: have 'entropy' twice\) and is kept as "):
        pipeline.analyze(changed, copy, CPU, [*FEATURE_METRICS, twice])
    assert len(list_runs(copy / "analysis_data")) == runs


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
    own.write_text(own.read_text(encoding="utf-8") + "Brand new headline about nothing,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="have changed since the classifier was made"):
        pipeline.analyze(changed, copy, CPU)


def test_presets_differ_where_they_should() -> None:
    """The real preset is FinBERT on the hub's data, layer 8; the demo needs no hub."""
    finbert, demo = PRESETS["finbert"], PRESETS["demo"]
    assert finbert.finetune.model == "ProsusAI/finbert" and finbert.extract.layer == 8
    assert (demo.headlines.source, demo.finetune.model, demo.extract.layer) == ("sample", "minilm", 4)
    assert finbert.train.latent_dims == () and demo.train.latent_dims == (4096, 8192, 16384, 32768)
