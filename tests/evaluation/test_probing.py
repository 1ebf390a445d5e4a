"""k-sparse probing with known answers."""

import numpy as np
import pytest
import torch
from scipy import sparse

from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.probing import headline_maxima, probe_scores
from tests.support.saes import drawn, random_sae


class TestProbing:
    """k-sparse probes of labels."""

    def test_known_answers(self) -> None:
        """A feature that is the label scores 1; noise scores about a half; the right one is found among many."""
        rng = np.random.default_rng(0)
        y, z = rng.integers(0, 3, 900), rng.integers(0, 3, 900)
        noise = [np.abs(rng.normal(size=(900, 30))) for _ in range(2)]
        (chance,) = probe_scores(sparse.csr_matrix(noise[0]), y, sparse.csr_matrix(noise[1]), z, [1])
        assert chance.auroc == pytest.approx(0.5, abs=0.05)
        told = [sparse.csr_matrix(np.hstack([n, np.eye(3)[c]])) for n, c in zip(noise, (y, z), strict=True)]
        (one, ten) = probe_scores(told[0], y, told[1], z, [1, 10])
        assert one.auroc == 1
        assert ten.auroc > 0.99

    def test_one_class(self) -> None:
        """Nothing to tell apart: a sentence."""
        x = sparse.csr_matrix(np.ones((4, 2)))
        with pytest.raises(UserError, match="at least two classes"):
            probe_scores(x, [1, 1, 1, 1], x, [1, 1, 1, 1], [1])

    def test_headline_maxima(self) -> None:
        """The same as the maximum over the dense activations of each headline."""
        sae, x = random_sae(), drawn(9, 50, 12)
        headline = torch.arange(50) // 5
        found = headline_maxima(sae, x, headline, 10).toarray()
        expected = sae.encode(x).view(10, 5, -1).amax(1)
        assert found == pytest.approx(expected.numpy(), abs=1e-5)
