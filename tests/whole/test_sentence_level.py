"""One vector per headline through the whole road: train, analyze, intervene, score, export, an edit, the API."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sae_pipeline import encode_headline, pipeline, read_headline
from sae_pipeline.config import ExportConfig, StudyConfig
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import Run, read_run
from sae_pipeline.study import present
from sae_pipeline.study.export import export
from tests.conftest import SmallStudy
from viz_analysis.api.live_types import InterveneBody, LiveEdit, ProbeBody
from viz_analysis.live.live_model import LiveModel
from viz_analysis.runs.sources import RunFolder

CPU = torch.device("cpu")
N = 24  # headlines of a run


def sentence_config(study: StudyConfig, positions: str) -> StudyConfig:
    """The small study's settings, with one vector per headline."""
    return study.model_copy(
        update={
            "extract": study.extract.model_copy(update={"positions": positions}),
            "train": study.train.model_copy(
                update={"latent_dims": (64,), "kind": "topk", "k": 8, "batch_size": 64, "num_epochs": 2}
            ),
            "analyze": study.analyze.model_copy(
                update={"sae_size": f"64-{positions}", "max_samples": N, "top_features": "all"}
            ),
            "intervene": study.intervene.model_copy(
                update={
                    "max_headlines": 4,
                    "steps": 2,
                    "agreement_headlines": 1,
                    "curve_headlines": 1,
                    "flip_headlines": 1,
                    "word_headlines": 1,
                    "bootstrap": 100,
                }
            ),
        }
    )


@pytest.mark.parametrize("positions", [pytest.param("cls", marks=pytest.mark.full), "mean"])
def test_the_road(study: SmallStudy, tmp_path: Path, positions: str) -> None:
    """Features fire on headlines, not on tokens, in every file; an edit of one moves the prediction."""
    unread = shutil.ignore_patterns("analysis_data", "activations", "*.pt")
    shutil.copytree(study.root, tmp_path, dirs_exist_ok=True, ignore=unread)
    config = sentence_config(study.config, positions)
    record = pipeline.train(config.extract, config.train, tmp_path, CPU)[f"64-{positions}"]
    n_train = len(present.same_headlines(tmp_path).train)
    assert record.report.train.n_tokens == n_train and record.report.spliced.positions == positions
    assert 7.7 < record.report.train.l0 <= 8 and record.report.train.fvu < 0.9  # a few have less than 8 above 0
    folder = pipeline.analyze(config, tmp_path, CPU)
    run = read_run(folder)
    _check_run(run, positions)
    causes = pipeline.intervene(config.intervene, tmp_path, CPU)
    assert causes.completeness_gap < 0.1
    assert not any(one.positions for headline in causes.headlines for one in headline.features)
    assert read_run(folder).metadata == run.metadata
    _check_exports(tmp_path)
    _check_live(tmp_path, run)


def _check_run(run: Run, positions: str) -> None:
    assert run.metadata.sae.positions == positions and run.metadata.sae.size == f"64-{positions}"
    assert run.metadata.totals.n_counted_tokens == N == run.feature_stats.n_headlines
    assert not any("token" in metric.description for metric in run.metadata.metrics)
    assert run.feature_stats.counts == run.feature_stats.headline_counts  # one vector: fires once or not at all
    sizes = [len(headline.features) for headline in run.headline_features.headlines]
    assert max(sizes) == 8 and np.mean(sizes) > 7.7
    for headline in run.headline_features.headlines:
        assert all((one.token, one.word, one.positions, one.position) == ("", "", [], 0) for one in headline.features)
    assert all(not one.words for one in run.feature_tokens.features)
    assert "whole" in run.headline(0)._repr_html_()


def _check_exports(root: Path) -> None:
    tables = export(ExportConfig(to="parquet", out=str(root / "tables")), 4, root)
    assert set(pq.read_table(tables / "examples.parquet")["word"].to_pylist()) == {""}
    with pytest.raises(UserError, match=r"Neuronpedia shows activations on tokens.*one vector per headline"):
        export(ExportConfig(to="neuronpedia", out=str(root / "neuronpedia")), 4, root)
    assert not (root / "neuronpedia").exists()
    size = read_run(max((root / "analysis_data").glob("*_run-*"))).metadata.sae.size
    plain = export(ExportConfig(to="saelens", out=str(root / "saelens"), sae_size=size), 4, root)
    config = json.loads((plain / "cfg.json").read_text())
    assert size.removeprefix("64-") in json.dumps(config)  # the hook is the layer; the positions stand beside it


def _check_live(root: Path, run: Run) -> None:
    """The bench answers with effects and no tokens, and an edit of a feature changes the probabilities."""
    model = LiveModel(RunFolder(root / "analysis_data"), run.metadata, "cpu")
    answer = model.probe(ProbeBody(text=run.prompts[0].text, steps=2, ablate=1))
    assert answer.features and not any(one.positions for one in answer.features) and not any(answer.token_effects)
    leader = answer.features[0]
    edited = model.intervene(
        InterveneBody(text=run.prompts[0].text, edits=[LiveEdit(feature=leader.feature, operation="ablate")])
    )
    assert leader.ablation is not None
    assert edited.after[0].probabilities == pytest.approx(
        [p - d for p, d in zip(edited.before.probabilities, leader.ablation.probabilities, strict=True)], abs=1e-4
    )
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    assert encode_headline(classifier, sae, run.prompts[0].text).shape == (1, 64)
    read = read_headline(classifier, sae, run.prompts[0].text)
    saved = run.headline_features.headlines[0].features
    assert [one.feature for one in read.features][:3] == [one.feature for one in saved][:3]
