"""The verb on a real run and its parts beside plain definitions, on predictions whose truth is known, and bad input."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import write_sealed
from sae_pipeline.calibration.abstention import Support, error_features, flags_of, rankings, shares_out_of_fold, verdict
from sae_pipeline.calibration.reliability import fitted_temperature, reliability
from sae_pipeline.calibration.verb import calibrate
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import CalibrateConfig
from sae_pipeline.evaluation.bootstrap import area_under_risk_coverage
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.fit_added import calibration_problems
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.schema.calibration import CALIBRATION, CalibrationFile
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.study import present
from tests.conftest import SmallStudy

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study whose run may be written to."""
    return study.copied(tmp_path_factory.mktemp("calibration"))


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def found(root: Path) -> CalibrationFile:
    """`calibration.json`, written by the verb."""
    return calibrate(CalibrateConfig(), root, CPU)


def drawn(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 3] and classes [n] drawn from the probabilities of these logits divided by `temperature`."""
    logits = RNG.normal(scale=3.0, size=(n, 3))
    p = softmax(logits / temperature)
    return logits, (p.cumsum(1) < RNG.random((n, 1))).sum(1)


class TestReliability:
    """Temperatures and figures where the truth is known."""

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
    def test_the_temperature_is_found(self, temperature: float) -> None:
        """Labels that are drawn at a temperature give this temperature back, and then confidence is accuracy."""
        logits, labels = drawn(20_000, temperature)
        found = fitted_temperature(logits, labels)
        assert found == pytest.approx(temperature, rel=0.05)
        fitted = reliability(logits / found, labels)
        assert fitted.ece < 0.015 and fitted.nll <= reliability(logits, labels).nll + 1e-9
        assert all(one.low <= one.accuracy <= one.high for one in fitted.bins)

    def test_figures(self) -> None:
        """Two headlines by hand: one right with probability 0.8, one wrong with probability 0.6."""
        logits = np.log([[0.8, 0.2], [0.6, 0.4]])
        found = reliability(logits, np.array([0, 1]))
        assert found.confidence == pytest.approx(0.7)
        assert found.nll == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
        assert found.brier == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)
        assert found.ece == pytest.approx((0.2 + 0.6) / 2)


class TestAbstention:
    """Orders of headlines, and what predictions rest on."""

    def test_area(self) -> None:
        """The area is the mean error rate over all prefixes, and its resamples spread around it."""
        sure, wrong = RNG.random(60), RNG.random(60) < 0.3
        ordered = wrong[np.argsort(-sure)]
        by_hand = np.mean([ordered[: n + 1].mean() for n in range(60)])
        area = area_under_risk_coverage(sure, wrong)
        assert area.value == pytest.approx(by_hand)
        low, high = area.interval()
        assert low < area.value < high
        assert area_under_risk_coverage(-wrong.astype(float), wrong).value < area.value

    def test_equally_sure_headlines_are_in_no_order(self) -> None:
        """Where a signal says nothing, the order of the table is not taken for one."""
        wrong = np.arange(2000) >= 1600
        for one in (wrong, wrong[::-1]):
            assert area_under_risk_coverage(np.zeros(2000), one).value == pytest.approx(0.2, abs=0.03)

    def test_shares_of_support(self) -> None:
        """Only what speaks for the predicted class counts; a headline without support support on nothing."""
        effects = np.array([[3.0, -3.0], [1.0, -1.0], [-2.0, 2.0], [-1.0, 1.0]])
        support = Support.of_effects(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), effects, np.array([0, 0]), d_sae=3)
        assert support.share(np.array([True, False, True])).tolist() == [0.75, 0.0]
        assert support.counts(np.array([True, True])).tolist() == [2, 1, 1]

    def test_features_of_errors_are_found(self) -> None:
        """A feature that fires in the errors is listed first, its p is Fisher's, and shares come from other folds."""
        n, d_sae = 400, 30
        wrong = RNG.random(n) < 0.2
        fires = RNG.random((n, d_sae)) < 0.3
        fires[:, 7] = np.where(RNG.random(n) < 0.9, wrong, ~wrong)
        headline, feature = np.nonzero(fires)
        effects = np.ones((len(headline), 2))
        support = Support.of_effects(headline, feature, effects, np.zeros(n, np.int64), d_sae)
        features, n_tested = error_features(support, wrong, np.ones(n, bool))
        assert features[0].feature == 7 and features[0].p < 1e-20 and n_tested == d_sae
        assert features[0].n_errors == int((fires[:, 7] & wrong).sum())
        shares = shares_out_of_fold(support, wrong, 0)
        assert shares[wrong].mean() > 2 * shares[~wrong].mean()

    def test_no_headline_chooses_its_own_features(self) -> None:
        """Among random features, those that all errors chose are larger in the errors, and out of fold they are not."""
        n, d_sae = 400, 300
        wrong = RNG.random(n) < 0.2
        headline, feature = np.nonzero(RNG.random((n, d_sae)) < 0.3)
        support = Support.of_effects(headline, feature, np.ones((len(headline), 2)), np.zeros(n, np.int64), d_sae)
        features, _ = error_features(support, wrong, np.ones(n, bool))
        own, of_others = support.share(flags_of(features, d_sae)), shares_out_of_fold(support, wrong, 0)
        assert own[wrong].mean() > 1.25 * own[~wrong].mean()
        assert of_others[wrong].mean() < 1.25 * of_others[~wrong].mean()

    def test_verdicts(self) -> None:
        """A signal that knows the errors helps, one that turns them round hurts, and confidence again is unproven."""
        sure = RNG.random(300)
        wrong = RNG.random(300) < 0.4 * (1 - sure)
        perfect = -wrong.astype(float)
        for both, expected in ((perfect, "helps"), (-perfect, "hurts"), (sure, "unproven")):
            found = rankings({"confidence": sure, "features": sure, "both": both}, wrong)
            assert verdict(found) == expected
            assert found[0].error_rates[0] == pytest.approx(wrong.mean()) and found[0].beyond_confidence is None
        assert verdict(rankings({"confidence": sure}, wrong)) == "unknown"


class TestVerb:
    """The whole verb."""

    def test_its_file(self, root: Path, run: Run, found: CalibrationFile) -> None:
        """The file fits its run; nothing of the testing half is fitted, and confidence alone is recomputed."""
        assert read_added(run.folder, CALIBRATION, CalibrationFile) == found
        assert list(calibration_problems(found, run.metadata, run.checksum)) == []
        tests = in_testing_half([prompt.headline_id for prompt in run.prompts])
        p = np.array([prompt.probabilities for prompt in run.prompts])
        labels = np.array([prompt.label for prompt in run.prompts])
        wrong = p.argmax(1) != labels
        assert (found.n_fit, found.n_test) == (int((~tests).sum()), int(tests.sum()))
        assert (found.n_fit_errors, found.n_test_errors) == (int(wrong[~tests].sum()), int(wrong[tests].sum()))
        assert found.before.confidence == pytest.approx(p[tests].max(1).mean(), abs=1e-4)
        logits = np.log(p.clip(1e-9))
        assert found.temperature == pytest.approx(fitted_temperature(logits[~tests], labels[~tests]), rel=0.01)
        sure = softmax(logits / found.temperature).max(1)
        area = area_under_risk_coverage(sure[tests], wrong[tests]).value
        assert found.rankings[0].area == pytest.approx(area, rel=0.01)

    def test_features_are_recounted(self, root: Path, run: Run, found: CalibrationFile) -> None:
        """Each doubtful feature fires in as many headlines, and in as many errors, as the file says."""
        classifier, sae = present.run_parts(root, run.metadata, CPU)
        probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
        fits = np.flatnonzero(~in_testing_half([prompt.headline_id for prompt in run.prompts]))
        reading = probe.read(classifier.tokenize([run.prompts[n].text for n in fits]))
        wrong = reading.logits.argmax(1) != np.array([run.prompts[n].label for n in fits])
        assert found.error_features
        for one in found.error_features[:5]:
            rows = reading.firings.group_headline[reading.firings.group_feature == one.feature]
            assert (one.n_headlines, one.n_errors) == (len(rows), int(wrong[rows].sum()))
        effects = attribute(probe, reading, steps=0).by_feature(reading.firings, "gradient")
        assert len(effects) == len(reading.firings.group_feature)

    def test_unstable_features(self, root: Path, run: Run, tmp_path: Path) -> None:
        """With two other seeds, a feature counts as unstable if it fires and one of them has no match."""
        study = tmp_path / "study"
        shutil.copytree(root, study, copy_function=os.link)
        copy = read_run(find_run(study / "analysis_data", None))
        (copy.folder / CALIBRATION).unlink(missing_ok=True)
        d_sae, counts = copy.metadata.sae.d_sae, np.array(copy.feature_stats.headline_counts)
        sizes = enumerate(("2k", "2k", "1k"))
        members = [{"size": size, "sae_hash": f"s{n}", "seed": n, "kind": "relu"} for n, size in sizes]
        columns = {"feature": [0] * d_sae, "cosine": [0.8] * d_sae, "coactivation": [0.5] * d_sae}
        found = [["match" if n % step else "absent" for n in range(d_sae)] for step in (2, 3, 1)]
        matches = [{**columns, "verdict": verdicts} for verdicts in found]
        family = {**made_from(copy), "d_sae": d_sae, "n_tokens": 9, "members": members, "matches": matches}
        add_file(copy, FAMILY, json.dumps(family).encode())
        file = calibrate(CalibrateConfig(), study, CPU)
        live = sum(n % 2 == 0 or n % 3 == 0 for n in np.flatnonzero(counts))
        assert file.seeds == [0, 1] and file.n_unstable is not None
        assert 0.8 * live < file.n_unstable <= live  # some fire in the testing half alone
        assert [one.signal for one in file.rankings] == ["confidence", "features", "both"]

    def test_bad_input(self, root: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """No labels, too few errors: one sentence each, and nothing is written."""
        (run.folder / CALIBRATION).unlink(missing_ok=True)
        assert main(["calibrate", "--root", str(root), "--max-headlines", "30"]) == 2
        error = capsys.readouterr().err
        assert "has only" in error and error.rstrip().endswith("analyze more headlines, or raise --max-headlines.")
        path = run.folder / "metadata.json"
        before = path.read_bytes()
        content = read_run(run.folder).metadata.model_copy(update={"labelled": False}).model_dump_json()
        write_sealed(path, content.encode())
        try:
            assert main(["calibrate", "--root", str(root)]) == 2
            assert "have no labels" in capsys.readouterr().err
        finally:
            path.write_bytes(before)
        assert not (run.folder / CALIBRATION).exists()
