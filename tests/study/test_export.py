"""SAEs written for SAELens are the same SAEs."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sae_pipeline.__main__ import main
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.study.layout import Layout
from tests.support.saes import random_sae

PEERS = Path(__file__).parents[2] / "build" / "peers" / "bin" / "python"


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


@pytest.mark.full
@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_saelens_reads_it(tmp_path: Path, kind: str) -> None:
    """The library itself, in the benchmarks' environment, loads the folder and finds the same features."""
    if not PEERS.exists():
        pytest.skip("SAELens is not here; `make peers` installs it")
    sae, folder = exported(tmp_path, kind)
    x = torch.randn(50, 12)
    torch.save(x, tmp_path / "x.pt")
    script = (
        "import sys, torch; from sae_lens import SAE; sae = SAE.load_from_disk(sys.argv[1]); "
        "f = sae.encode(torch.load(sys.argv[2])); torch.save((f.detach(), sae.decode(f).detach()), sys.argv[3])"
    )
    subprocess.run([PEERS, "-c", script, folder, tmp_path / "x.pt", tmp_path / "out.pt"], check=True)
    f, x_hat = torch.load(tmp_path / "out.pt")
    torch.testing.assert_close(f, sae.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x_hat, sae(x), rtol=1e-4, atol=1e-3)


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
