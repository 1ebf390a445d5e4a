"""The bench of a shared run: its graphs equal the classifier, its tokens the tokenizer's, and what it refuses."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from sae_pipeline.__main__ import main
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.study.layout import Layout
from tests.conftest import SmallStudy
from tests.support.cases import Case
from viz_analysis.share.bench import _check_family, _tokenizer
from viz_analysis.share.bert_graphs import BertGraphs
from viz_analysis.share.page import site_page
from viz_analysis.web import viewer_files

VIEWER = Path(__file__).parents[2] / "sae-viewer"
HOSTILE = (
    "Café Zürich’s ÅNGSTRÖM naïve İstanbul ΑΣ ﬁnance",
    "東京 stocks 株価 up 3%",
    "see https://t.co/abc, www.example.com/x?y=1. and $AAPL. +3.5% €1,200 -7 U.S.-led",
    "[CLS] [SEP] [MASK] </s> tokens as text",
    "a\u0301 e\u0301\u0327 \u1e9b\u0323 한국어 \u200b zero\u00adwidth \ufeff bom \u3000 wide",
    "🚀🚀 to the moon 🇺🇸 ﷺ ½ ² ٣٤ _under_score_ x_y",
    "x" * 101 + " " + "y" * 100,
    "tabs\tand\nlines\r\x0b\x1c\x85end",
    "«quotes» “curly” — dash – en … dots ?! ;",
    "\U000f0000 private \ue000 \x01 control \x7f",
    "",
    " ",
)


def graph_outputs(graph: bytes, **inputs: Any) -> list[Any]:
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    return list(ReferenceEvaluator(model).run(None, inputs))


@pytest.mark.parametrize("layer", [4, 6])
def test_graphs_equal_the_classifier(study: SmallStudy, classifier: Classifier, layer: int) -> None:
    """Hidden states, features, logits and slopes, also where nothing but the head follows the hookpoint."""
    sae = SparseAutoencoder.load(Layout(study.root).sae_alias(4, "1k"))
    hookpoint = sae.config.hookpoint.model_copy(update={"layer": layer, "module": f"bert.encoder.layer.{layer - 1}"})
    sae.config = sae.config.model_copy(update={"hookpoint": hookpoint})
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
    reading = probe.read(classifier.tokenize(["Shares fall 3% after the company cuts its outlook"]))
    graphs = BertGraphs(classifier.model, sae, exact=True)
    ids = np.array([reading.tokenized[0].input_ids], np.int32)
    hidden, f = graph_outputs(graphs.read(), input_ids=ids)
    own, input_ids, mask = reading.padded(np.zeros(1, np.int64))
    np.testing.assert_allclose(hidden, own.detach().numpy(), atol=1e-4)
    counted = reading.tokenized[0].counted(sae.config.positions)
    np.testing.assert_allclose(f[0, counted], sae.encode(own[0, counted]).detach().numpy(), atol=1e-3)
    copies = np.concatenate([own, own * 1.1]).astype(np.float32)
    (logits,) = graph_outputs(graphs.tail(), hidden=copies)
    known = probe.tail(torch.tensor(copies), input_ids.expand(2, -1), mask.expand(2, -1)).detach().numpy()
    np.testing.assert_allclose(logits, known, atol=1e-4)
    seeds = np.array([[1, -0.5, 0], [0, 0, 2]], np.float32)
    again, slopes = graph_outputs(graphs.slopes(), hidden=copies, seeds=seeds)
    np.testing.assert_allclose(again, known, atol=1e-4)
    x = torch.tensor(copies, requires_grad=True)
    total = (probe.tail(x, input_ids.expand(2, -1), mask.expand(2, -1)) * torch.tensor(seeds)).sum()
    (expected,) = torch.autograd.grad(total, x)
    np.testing.assert_allclose(slopes, expected.numpy(), atol=1e-5 + 1e-4 * float(expected.abs().max()))
    assert np.abs(slopes).max() > 1e-3 and attribute(probe, reading, 0).logits.shape == (1, 3)


def test_half_precision_changes_logits_little(study: SmallStudy, classifier: Classifier) -> None:
    sae = SparseAutoencoder.load(Layout(study.root).sae_alias(4, "1k"))
    ids = np.array([classifier.tokenize(["Shares fall 3% after the company cuts its outlook"])[0].input_ids], np.int32)
    logits = []
    for exact in (True, False):
        graphs = BertGraphs(classifier.model, sae, exact)
        hidden, _ = graph_outputs(graphs.read(), input_ids=ids)
        (found,) = graph_outputs(graphs.tail(), hidden=hidden)
        logits.append(found)
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.02


@pytest.mark.parametrize("strip_links", [True, False])
def test_tokens_equal_the_tokenizers(classifier: Classifier, tmp_path: Path, strip_links: bool) -> None:
    """All built-in headlines, and texts with accents, links, ideographs, control characters and names of tokens."""
    texts = [*HOSTILE, *(text for text, _ in sample_headlines())] if strip_links else list(HOSTILE)
    headlines = tokenize(classifier.tokenizer, texts, 1 << 20, strip_links)
    expected = [{"ids": one.input_ids, **asdict(one)} for one in headlines]
    for one in expected:
        del one["input_ids"], one["is_cut"]
    cases = {"facts": _tokenizer(classifier.tokenizer, ""), "strip_links": strip_links, "texts": expected}
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    program = [VIEWER / "node_modules" / ".bin" / "vitest", "run", "src/share/bench/tokens.test.ts"]
    environment = {**os.environ, "TOKEN_CASES": str(tmp_path / "cases.json")}
    found = subprocess.run(program, cwd=VIEWER, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0 and "1 passed" in found.stdout, found.stdout[-6000:] + found.stderr[-2000:]


def test_families_other_than_bert_are_refused(case: Case) -> None:
    if case.model.config.model_type == "bert":
        _check_family(case.model, "own")
    else:
        with pytest.raises(UserError, match=r"^other is a .* and use the server with --live\.$"):
            _check_family(case.model, "other")


def test_without_the_runtime_nothing_is_written(
    study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel's viewer has none of it; the sentence says where it is."""
    (tmp_path / "viewer").mkdir()
    monkeypatch.setattr(viewer_files, "VIEWER_DIR", tmp_path / "viewer")
    out = tmp_path / "site"
    assert main(["export", "--root", str(study.root), "--to", "site", "--bench", "--out", str(out)]) == 2
    assert "onnxruntime-web, which a wheel leaves out" in capsys.readouterr().err and not out.exists()


def test_only_a_page_with_a_model_may_run_webassembly() -> None:
    pages = {model: site_page(VIEWER, "run-001", "data/manifest.json", model) for model in (None, "data/a-b")}
    assert "'wasm-unsafe-eval'" in pages["data/a-b"] and '<meta name="model" content="data/a-b" />' in pages["data/a-b"]
    assert "unsafe-eval" not in pages[None] and 'name="model"' not in pages[None]
