"""Neighbours of features against brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.analysis import neighbours
from sae_pipeline.analysis.neighbours import Cofiring, decoder_neighbours, kept_decoder_neighbours
from sae_pipeline.schema.common import MIN_HEADLINES
from tests.analysis.dense import firings_of

N, D_SAE = 40, 30


def fires() -> np.ndarray:
    """Which of 30 features fires on which of 40 headlines, [n_headlines, d_sae]; rare ones and frequent ones."""
    return np.random.default_rng(0).random((N, D_SAE)) < np.linspace(0.02, 0.8, D_SAE)


IDS = [f"{n * 0x1B873593 % 2**48:012x}" for n in range(1, N + 1)]


def cofiring_of(dense: np.ndarray, start: int = 0, end: int = N) -> Cofiring:
    """Co-firing over headlines start … end − 1."""
    cofiring = Cofiring()
    firings = firings_of(dense[start:end, None].astype(np.float32), start)
    cofiring.add(firings, start, IDS[start:end])
    return cofiring


def test_cofiring_is_the_jaccard_index() -> None:
    """Merged parts give each feature its highest Jaccard indices; a feature with thin support has no neighbours."""
    dense = fires()
    found, index = (cofiring_of(dense, 0, 15) + cofiring_of(dense, 15)).neighbours(D_SAE)
    counts = dense.sum(0)
    assert (counts < MIN_HEADLINES).any() and (counts >= MIN_HEADLINES).any()
    for f in range(D_SAE):
        both = (dense & dense[:, [f]]).sum(0)
        jaccard = np.where(counts >= MIN_HEADLINES, both / np.maximum(counts + counts[f] - both, 1), 0)
        jaccard[f] = 0
        expected = np.sort(jaccard)[::-1][: neighbours.K] if counts[f] >= MIN_HEADLINES else np.zeros(neighbours.K)
        np.testing.assert_allclose(index[f], expected, atol=1e-6)
        listed = found[f][found[f] >= 0].numpy()
        np.testing.assert_allclose(index[f][: len(listed)], jaccard[listed], atol=1e-6)


def test_cofiring_sample_does_not_depend_on_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The headlines with the lowest ids are kept, whichever process reads them."""
    monkeypatch.setattr(neighbours, "SAMPLE", 12)
    whole, merged = cofiring_of(fires()), cofiring_of(fires(), 20) + cofiring_of(fires(), 0, 20)
    assert whole.features.keys() == merged.features.keys() == set(sorted(IDS)[:12])
    for name, features in whole.features.items():
        np.testing.assert_array_equal(features, merged.features[name])


def test_decoder_neighbours(tmp_path: Path) -> None:
    """The largest cosines with other rows, in float64; the second call reads the file."""
    W_dec = torch.from_numpy(np.random.default_rng(1).standard_normal((D_SAE, 6)).astype(np.float32))
    unit = W_dec.double() / W_dec.double().norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-2)
    expected, order = cosine.topk(neighbours.K, dim=1)
    path = tmp_path / "neighbours.safetensors"
    for found, cosines in (decoder_neighbours(W_dec), kept_decoder_neighbours(W_dec, path)):
        np.testing.assert_array_equal(found, order)
        np.testing.assert_allclose(cosines, expected, atol=1e-6)
    written = path.stat().st_mtime_ns
    again, _ = kept_decoder_neighbours(W_dec, path)
    np.testing.assert_array_equal(again, order)
    assert path.stat().st_mtime_ns == written
