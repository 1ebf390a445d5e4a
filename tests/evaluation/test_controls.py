"""PCA and raw neurons as SAEs, with known answers."""

import pytest
import torch

from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.controls import neurons, pca
from tests.support.saes import random_sae


class TestControls:
    """PCA and raw neurons, judged as SAEs."""

    x = torch.randn(600, 12, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.linspace(3, 0.2, 12)) + 1

    def like(self) -> object:
        sae = random_sae(12)
        sae.mean.copy_(self.x.mean(0))
        sae.scale.copy_((self.x - self.x.mean(0)).square().mean().sqrt())
        return sae

    @pytest.mark.parametrize("k", [1, 5, 12])
    def test_pca_is_the_best_code_of_its_rank(self, k: int) -> None:
        """Its FVU is the share of the variance in the components left out, and its L0 is k."""
        found = code_quality(pca(self.x, self.like(), k), "test", [self.x], 600)  # type: ignore[arg-type]
        values = torch.linalg.eigvalsh(torch.cov(self.x.T.double())).flip(0)
        assert found.fvu == pytest.approx(float(values[k:].sum() / values.sum()), abs=1e-5)
        assert found.l0 == pytest.approx(k, abs=0.05)

    def test_neurons_keep_the_largest(self) -> None:
        """All of them reconstruct exactly; three leave what is in the nine smallest."""
        everything = code_quality(neurons(self.like(), 12), "test", [self.x], 600)  # type: ignore[arg-type]
        assert everything.fvu == pytest.approx(0, abs=1e-6)
        z = (self.x - self.x.mean(0)).abs().sort(1).values[:, :-3]
        three = code_quality(neurons(self.like(), 3), "test", [self.x], 600)  # type: ignore[arg-type]
        total = (self.x - self.x.mean(0)).square().sum()
        assert three.fvu == pytest.approx(float(z.square().sum() / total), rel=1e-4)

    def test_more_components_than_there_are(self) -> None:
        """Components are limited by the width and by the number of tokens."""
        with pytest.raises(UserError, match="1 to 12 components"):
            pca(self.x, self.like(), 13)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="1 to 5 components"):
            pca(self.x[:5], self.like(), 6)  # type: ignore[arg-type]
