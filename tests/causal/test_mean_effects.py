"""Mean effects: t-tests, bootstrap and error lift against known answers."""

import numpy as np
import pytest
from scipy import stats

from sae_pipeline.causal.mean_effects import MIN_HEADLINES, bootstrap_means, effect_columns, error_lift, t_test


class TestStatistics:
    """Columns against brute force on random effects."""

    n_headlines, d_sae = 40, 9

    def random_effects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fires = np.random.default_rng(0).random((self.n_headlines, self.d_sae)) < np.linspace(0, 1, self.d_sae)
        headline, feature = fires.nonzero()
        return headline, feature, np.random.default_rng(1).normal(size=(len(headline), 2)) + np.array([0.5, 0])

    def test_t_test(self) -> None:
        """Equals scipy's, feature by feature."""
        _, feature, effects = self.random_effects()
        found = t_test(feature, effects, self.d_sae)
        for f in range(self.d_sae):
            for c in range(2):
                sample = effects[feature == f, c]
                expected = stats.ttest_1samp(sample, 0).pvalue if len(sample) > 1 else 1.0
                assert found[f, c] == pytest.approx(expected, rel=1e-6)

    def test_bootstrap(self) -> None:
        """Equals resampling the dense array, zeros included; none for thin support; 95 % is about ± 1.96 errors."""
        headline, feature, effects = self.random_effects()
        found = bootstrap_means(headline, feature, effects, self.n_headlines, self.d_sae, 2000, seed=1)
        n = self.n_headlines
        draws = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), 2000)
        dense = np.zeros((n, self.d_sae, 2))
        dense[headline, feature] = effects
        expected = np.quantile(np.tensordot(draws / n, dense, 1), (0.025, 0.975), axis=0)
        expected[:, (dense != 0).any(2).sum(0) < MIN_HEADLINES] = 0
        np.testing.assert_allclose(found, expected, atol=1e-5)
        width, error = found[1, -1] - found[0, -1], dense[:, -1].std(0) / np.sqrt(n)
        np.testing.assert_allclose(width, 2 * 1.96 * error, rtol=0.25)

    def test_error_lift(self) -> None:
        """Known answer: errors on 5 of 10 headlines where it fires, 8 of 40 in all; scipy's Wilson interval."""
        wrong = np.zeros(40, bool)
        wrong[[0, 1, 2, 3, 4, 20, 21, 22]] = True
        headline, feature = np.arange(10), np.zeros(10, int)
        lift, low, high = error_lift(headline, feature, wrong, 2)
        assert lift.tolist() == [2.5, 1.0]
        interval = stats.binomtest(5, 10).proportion_ci(method="wilson")
        assert (low[0], high[0]) == (pytest.approx(interval.low * 5), pytest.approx(interval.high * 5))

    def test_false_discoveries_are_controlled(self) -> None:
        """Where no feature has an effect, hardly any is called significant; where one has, it is."""
        rng = np.random.default_rng(0)
        headline, feature = (a.ravel() for a in np.mgrid[:200, :100])
        effects = rng.normal(size=(len(headline), 2))
        effects[feature == 42, 0] += 1
        _, columns = effect_columns(
            (headline, feature, effects), (feature[:5], effects[:5]), rng.random(200) < 0.2, 100, ["A", "B"], 100, 0
        )
        q = np.array(columns[0]["q"])
        assert q[42] < 1e-6 and (q < 0.05).sum() <= 3
