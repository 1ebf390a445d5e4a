"""The autoencoder against its formula in float64, and its file."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder, size_name
from tests.support.saes import drawn, random_sae, sae_config


def test_equals_the_formula_in_float64() -> None:
    """f = relu((x − mean)/scale · W_enc + b_enc); x̂ = mean + scale·(f·W_dec + b_dec); active entries likewise."""
    sae = random_sae()
    x = drawn(9, 700, 12) * 3
    weights = {k: v.double().numpy() for k, v in sae.state_dict().items()}
    f = np.maximum((x.double().numpy() - weights["mean"]) / weights["scale"] @ weights["W_enc"] + weights["b_enc"], 0)
    recon = weights["mean"] + weights["scale"] * (f @ weights["W_dec"] + weights["b_dec"])
    np.testing.assert_allclose(sae.encode(x), f, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sae(x), recon, rtol=1e-4, atol=1e-3)
    token, feature, value = sae.encode_active(x)
    assert (value > 0).all() and len(value) == (sae.encode(x) > 0).sum()
    dense = np.zeros_like(f)
    dense[token, feature] = value
    np.testing.assert_allclose(dense, f, rtol=1e-4, atol=1e-4)
    order = token * 40 + feature
    assert (np.diff(order) > 0).all()


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_one_rule_for_all_kinds(kind: str) -> None:
    """f = pre above the feature's threshold, for topk the k largest; the three ways to encode agree."""
    sae = random_sae()
    sae.config = sae.config.model_copy(update={"kind": kind, "k": 5 if kind == "topk" else None})
    sae.threshold.copy_(drawn(8, 40).abs() * 10)
    x = drawn(9, 300, 12) * 3
    pre = (sae.normalise(x) @ sae.W_enc + sae.b_enc).double()
    f = torch.where(pre > sae.threshold, pre.clamp_min(0), 0.0)
    if kind == "topk":
        f = torch.where(f >= f.topk(5).values[:, -1:], f, 0.0)
        assert (f > 0).sum(1).max() == 5 and (f > 0).sum(1).min() < 5
    torch.testing.assert_close(sae.encode(x).double(), f, rtol=1e-4, atol=1e-4)
    lists = sae.encode_lists(x)
    dense = torch.zeros_like(f)
    dense[lists.rows, lists.cols.long()] = lists.values.double()
    torch.testing.assert_close(dense, f, rtol=1e-4, atol=1e-4)
    ids = torch.tensor([7, 3, 39])
    torch.testing.assert_close(sae.encode_features(x, ids).double(), f[:, ids], rtol=1e-4, atol=1e-4)


def test_no_tokens() -> None:
    """Without tokens there are no active entries."""
    assert [len(column) for column in random_sae().encode_active(torch.empty(0, 12))] == [0, 0, 0]


def test_round_trip(tmp_path: Path) -> None:
    """Weights, units and config come back; the file loads with weights_only."""
    sae = random_sae()
    sae.save(tmp_path / "sae.pt")
    assert set(torch.load(tmp_path / "sae.pt", weights_only=True)) == {"config", "checksum", "state_dict"}
    loaded = SparseAutoencoder.load(tmp_path / "sae.pt")
    assert loaded.config == sae.config
    x = drawn(9, 5, 12)
    assert torch.equal(loaded(x), sae(x))


def test_bad_files(tmp_path: Path) -> None:
    """Missing, truncated, foreign and executable files: one sentence each, nothing executed."""
    with pytest.raises(UserError, match="There is no SAE at"):
        SparseAutoencoder.load(tmp_path / "sae.pt")
    buffer = io.BytesIO()
    torch.save({"config": sae_config().model_dump(), "state_dict": random_sae().state_dict()}, buffer)
    (tmp_path / "cut.pt").write_bytes(buffer.getvalue()[:-300])
    torch.save({"some": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save(random_sae(), tmp_path / "pickled.pt")
    wrong = random_sae().state_dict() | {"W_dec": torch.zeros(3, 3)}
    torch.save({"config": sae_config().model_dump(), "state_dict": wrong}, tmp_path / "shape.pt")
    for name in ("cut.pt", "other.pt", "pickled.pt", "shape.pt"):
        with pytest.raises(UserError, match="train` makes it again"):
            SparseAutoencoder.load(tmp_path / name)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    """A file whose weights or config are not those that were saved is refused, and so are weights without a number."""
    path = tmp_path / "sae.pt"
    random_sae().save(path)
    payload = torch.load(path, weights_only=True)
    payload["state_dict"]["W_enc"][0, 0] += 1e-6
    torch.save(payload, path)
    with pytest.raises(UserError, match="its checksum does not fit"):
        SparseAutoencoder.load(path)
    random_sae().save(path)
    payload = torch.load(path, weights_only=True)
    payload["config"]["l1_coefficient"] *= 2
    torch.save(payload, path)
    with pytest.raises(UserError, match="its checksum does not fit"):
        SparseAutoencoder.load(path)
    sae = random_sae()
    with torch.no_grad():
        sae.W_dec[0, 0] = float("nan")
    sae.save(path)
    with pytest.raises(UserError, match="not finite"):
        SparseAutoencoder.load(path)


def test_size_names() -> None:
    """The four usual sizes have short names; other sizes keep their number."""
    assert [size_name(n) for n in (4096, 8192, 16384, 32768, 1000)] == ["4k", "8k", "16k", "32k", "1000"]
