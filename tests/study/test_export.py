"""SAEs and runs written for other tools hold what they held here."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet as pq
from safetensors.numpy import load_file

from sae_pipeline.__main__ import main
from sae_pipeline.runs import neuronpedia
from sae_pipeline.runs.folders import load_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import Cell
from sae_pipeline.study.layout import Layout
from tests.support.indexed_runs import write_whole_run
from tests.support.run_factory import write_run
from tests.support.saes import random_sae

FORMATS_PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def exported(root: Path, kind: str) -> tuple[SparseAutoencoder, Path]:
    """A random SAE of a kind, and the folder that the command line wrote it to."""
    torch.manual_seed(0)  # an entry within rounding of its threshold is on in one and off in the other
    sae = random_sae()
    sae.config = sae.config.model_copy(update={"kind": kind, "k": 5 if kind == "topk" else None})
    if kind not in ("relu", "topk"):
        sae.threshold.copy_(torch.rand(40))
    sae.save(Layout(root).sae_alias(2, "40"))
    assert main(["export", "--root", str(root), "--layer", "2", "--sae-size", "40"]) == 0
    return sae, root / "finbert_sae" / "saelens" / "layer_2_40"


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu", "batchtopk"])
def test_folded_weights_give_the_same_features(tmp_path: Path, kind: str) -> None:
    """SAELens' own formulas on the files, in float64: the same f and x̂, from activations as the classifier has them."""
    sae, folder = exported(tmp_path, kind)
    config = json.loads((folder / "cfg.json").read_text())
    tensors = load_file(folder / "sae_weights.safetensors")
    weights = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    assert config["architecture"] == {"relu": "standard", "topk": "topk"}.get(kind, "jumprelu")
    assert not config["apply_b_dec_to_input"] and config["normalize_activations"] == "none"
    x = torch.randn(500, 12) * 3
    pre = x.double().numpy() @ weights["W_enc"] + weights["b_enc"]
    f = np.maximum(pre, 0)
    if kind == "topk":
        f[pre < np.sort(pre, 1)[:, [-config["k"]]]] = 0
    if "threshold" in weights:
        f[pre <= weights["threshold"]] = 0
    np.testing.assert_allclose(sae.encode(x), f, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sae(x), f @ weights["W_dec"] + weights["b_dec"], rtol=1e-4, atol=1e-3)


def test_to_a_place_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out` names the folder; an older export there is replaced; a file in its place is one sentence."""
    _, folder = exported(tmp_path, "jumprelu")
    sae, _ = exported(tmp_path, "relu")
    place = tmp_path / "some" / "place"
    command = ["export", "--root", str(tmp_path), "--layer", "2", "--sae-size", "40", "--out"]
    assert main([*command, str(place)]) == 0
    for name in ("cfg.json", "sae_weights.safetensors"):
        assert (place / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((place / "cfg.json").read_text())["architecture"] == "standard" and sae.config.kind == "relu"
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main([*command, str(wrong)]) == 2
        assert "is not a folder; choose another one with --out" in capsys.readouterr().err


def test_to_names_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in `--to`, as it was before there were formats, still works and is told; other words are refused."""
    _, folder = exported(tmp_path, "relu")
    command = ["export", "--root", str(tmp_path), "--layer", "2", "--sae-size", "40", "--to"]
    assert main([*command, str(tmp_path / "place")]) == 0
    assert f"write --out {tmp_path / 'place'}" in capsys.readouterr().out
    assert (tmp_path / "place" / "cfg.json").read_bytes() == (folder / "cfg.json").read_bytes()
    assert main([*command, "sae-lens"]) == 2
    assert "Input should be 'saelens', 'dictionary-learning'," in capsys.readouterr().err


def test_no_such_sae(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, and no folder."""
    assert main(["export", "--root", str(tmp_path), "--sae-size", "4k"]) == 2
    assert "There is no SAE at" in capsys.readouterr().err
    assert not (tmp_path / "finbert_sae" / "saelens").exists()


# --- runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with one run that has every file, and columns of several types beside the text."""
    root = tmp_path_factory.mktemp("with-run")
    columns: dict[str, list[Cell]] = {"ticker": ["AAPL", None], "price": [1.5, 2], "mixed": [1, "one", None]}
    write_whole_run(root / "analysis_data", columns)
    return root


def test_parquet(with_run: Path, tmp_path: Path) -> None:
    """Three tables hold what the run holds, each number in its own type, under the names of the run and its models."""
    out = tmp_path / "tables"
    assert main(["export", "--root", str(with_run), "--to", "parquet", "--out", str(out)]) == 0
    run = load_run(with_run / "analysis_data")
    features, examples, headlines = (
        pq.read_table(out / f"{name}.parquet") for name in ("features", "examples", "headlines")
    )
    stats = run.feature_stats
    assert features["feature"].to_pylist() == list(range(stats.d_sae))
    assert features["headline_count"].to_pylist() == stats.headline_counts
    for metric in stats.metrics:
        assert features[metric.name].to_pylist() == metric.values
    assert features["found_in_seeds"].to_pylist()[:5] == [2, 0, 1, 0, 2]
    assert features["effect_bullish"].type == "double" and features["effect_bullish_n"].type == "int32"
    found = [run.found_names.get(feature) for feature in range(stats.d_sae)]
    assert features["found_name"].to_pylist() == [one.name if one else None for one in found] and any(found)
    assert features["found_name_score"].to_pylist() == [one.score if one else None for one in found]
    made_with = {b"run_id": b"run-001", b"classifier_hash": run.metadata.classifier_hash.encode()}
    assert made_with.items() <= features.schema.metadata.items() and b"sae_hash" in headlines.schema.metadata

    saved = run.feature_tokens.features
    assert len(examples) == sum(len(one.examples) + sum(len(group.examples) for group in one.groups) for one in saved)
    first, told = saved[0].examples[0], examples.slice(0, 1).to_pylist()[0]
    assert (told["feature"], told["kind"], told["rank"]) == (saved[0].feature, "strongest", 0)
    assert told["tokens"][told["position"]] == first.token and told["positions"] == first.positions
    assert told["activation"] == pytest.approx(first.activation) and told["label"] in run.metadata.labels

    assert headlines["text"].to_pylist() == [prompt.text for prompt in run.prompts]
    assert headlines["column_ticker"].type == "string" and headlines["column_price"].type == "double"
    assert headlines["column_mixed"].to_pylist()[:3] == ["1", "one", None]
    fired = run.headline_features.headlines[3].features
    assert headlines["features"].to_pylist()[3] == [one.feature for one in fired]


def test_headlines_without_labels(tmp_path: Path) -> None:
    """Where the table has no labels, `label` is null and not the classifier's prediction."""
    write_run(tmp_path / "analysis_data", n_headlines=20, d_sae=64, labelled=False)
    assert main(["export", "--root", str(tmp_path), "--to", "parquet", "--out", str(tmp_path / "tables")]) == 0
    for name in ("examples", "headlines"):
        table = pq.read_table(tmp_path / "tables" / f"{name}.parquet")
        assert table["label"].null_count == len(table) > 0 and table["label"].type == "string"
        assert table["prediction"].null_count == 0


def test_the_snippet_of_the_formats_page(
    with_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's lines of pandas read the tables and print five features with an example each."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--root", str(with_run), "--to", "parquet", "--out", "tables"]) == 0
    (snippet,) = re.findall(r"```python\n(.*?)```", FORMATS_PAGE.read_text(encoding="utf-8"), re.S)
    capsys.readouterr()
    exec(snippet.replace("mutual_information", "max_activation"), {})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 6 and "headline_count" in printed


def test_neuronpedia(with_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have the fields that Neuronpedia's converter reads, with parallel lists, and classes for logits."""
    out = tmp_path / "features"
    out.mkdir()
    (out / "batch-7.json").write_text("{}")  # of an older export
    monkeypatch.setattr(neuronpedia, "_BATCH", 20)
    assert main(["export", "--root", str(with_run), "--to", "neuronpedia", "--out", str(out)]) == 0
    written = sorted(out.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(written) > 1 and written[-1].name == "batch-0.json"  # where it is missing, the export was broken off
    run = load_run(with_run / "analysis_data")
    batches = [json.loads((out / f"batch-{n}.json").read_text()) for n in range(len(list(out.glob("*"))))]
    features = [feature for batch in batches for feature in batch["features"]]
    saved = run.feature_tokens.features
    assert [feature["feature_index"] for feature in features] == [one.feature for one in saved]
    assert max(len(batch["features"]) for batch in batches) == 20
    assert batches[0].keys() == {"model_id", "layer", "sae_set", "sae_id_suffix", "features"}
    for feature, one in zip(features, saved, strict=True):
        assert len(feature["freq_hist_data_bar_values"]) == len(feature["freq_hist_data_bar_heights"])
        assert sum(feature["freq_hist_data_bar_heights"]) == sum(one.histogram)
        assert len(feature["neuron_alignment_indices"]) == len(feature["neuron_alignment_l1"]) == 3
        assert all(value > 0 for value in feature["pos_values"]) and all(value < 0 for value in feature["neg_values"])
        assert set(feature["pos_str"] + feature["neg_str"]) <= set(run.metadata.labels)
        strongest = feature["activations"][0]
        assert len(strongest["tokens"]) == len(strongest["values"])
        assert (strongest["bin_min"], strongest["bin_contains"]) == (-1, -1)
        assert max(strongest["values"]) == strongest["bin_max"] == one.examples[0].activation
        assert strongest["values"][strongest["qualifying_token_index"]] == one.examples[0].activation
        text = run.prompts[one.examples[0].headline].text
        assert "".join(strongest["tokens"][1:-1]).strip() == " ".join(text.split())
    assert any(feature["pos_str"] for feature in features)


def test_runs_that_cannot_be_exported(
    with_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run, a damaged file and a file in the folder's place are one sentence; the default is a name right here."""
    monkeypatch.chdir(tmp_path)

    def said(root: Path, *arguments: str) -> str:
        assert main(["export", "--root", str(root), *arguments]) == 2
        return capsys.readouterr().err

    assert "There are no runs in" in said(tmp_path, "--to", "parquet")
    assert "There is no run '9'" in said(with_run, "--to", "neuronpedia", "--run", "9")
    (tmp_path / "file").write_text("")
    assert "is not a folder; choose another one with --out" in said(with_run, "--to", "parquet", "--out", "file")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.json").write_text("mine")
    for name in ("parquet", "neuronpedia"):
        assert "holds config.json" in said(with_run, "--to", name, "--out", "project")
    assert "file/in is not a folder" in said(with_run, "--to", "parquet", "--out", "file/in")
    assert "No folder can be made at /proc/none" in said(with_run, "--to", "parquet", "--out", "/proc/none")
    copy = tmp_path / "copy"
    shutil.copytree(with_run, copy)
    (effects,) = copy.glob("*/*/feature_effects.json")
    effects.write_bytes(effects.read_bytes().replace(b"effect", b"defect", 1))
    for name in ("parquet", "neuronpedia"):
        assert "is damaged: feature_effects.json" in said(copy, "--to", name)
    effects.unlink()
    assert main(["export", "--root", str(copy), "--to", "neuronpedia", "--run", "1"]) == 0
    (feature, *_) = json.loads((tmp_path / "run-001-neuronpedia" / "batch-0.json").read_text())["features"]
    assert feature["pos_str"] == feature["neg_str"] == []
