"""The verb on a real run: edits and risks by brute force, its file, controls, and bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import write_sealed
from sae_pipeline.causal.edited import Factors, edited_logits
from sae_pipeline.causal.edits import Edit, intervene
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import MendConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.headlines.tokens import collate, counted_mask
from sae_pipeline.mending.last_layer import last_inputs
from sae_pipeline.mending.proof import check_not_broken
from sae_pipeline.mending.search import search
from sae_pipeline.mending.verb import mend
from sae_pipeline.runs.fit_added import mending_problems
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.study import present
from sae_pipeline.study.report_runs import mending_lines
from tests.conftest import SmallStudy

CPU = torch.device("cpu")
CONFIG = MendConfig(max_edits=3, random_sets=20)


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study whose run may be written to."""
    return study.copied(tmp_path_factory.mktemp("mending"))


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def probe(root: Path, run: Run) -> Probe:
    """Its classifier and SAE."""
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    return Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)


@pytest.fixture(scope="module")
def reading(probe: Probe, run: Run, classifier: Classifier) -> Reading:
    """Sixty of its headlines."""
    return probe.read(classifier.tokenize([prompt.text for prompt in run.prompts[:60]]))


@pytest.fixture(scope="module")
def found(root: Path) -> MendingFile:
    """`mending.json`, written by the verb."""
    return mend(CONFIG, root, CPU)


def brute_force(probe: Probe, reading: Reading, factors: Factors) -> np.ndarray:
    """Logits [n_headlines, n_classes] of whole forward passes, one headline at a time, with a hook that edits."""
    edits = [Edit(feature, "scale", factor) for feature, factor in factors.items()]
    logits = []
    for headline in reading.tokenized:
        input_ids, mask = collate([headline], probe.pad_id)
        counted = counted_mask([headline], probe.sae.config.positions)
        with torch.no_grad(), intervene(probe.model, probe.sae.config.hookpoint, probe.sae, edits, counted):
            logits.append(probe.model(input_ids=input_ids, attention_mask=mask).logits[0].double().numpy())
    return np.stack(logits)


def name_sets(root: Path, run: Run, sets: Any) -> None:
    """Write sets of features of the run's SAE, as a person may."""
    folder = root / "analysis_data" / "labels"
    folder.mkdir(exist_ok=True)
    file = {"sae_hash": run.metadata.sae_hash, "labels": {}, "sets": sets}
    (folder / f"{run.metadata.sae_hash}.json").write_text(json.dumps(file))


def frequent(reading: Reading, n: int) -> list[int]:
    """The n features that fire in most headlines."""
    counts = np.bincount(reading.firings.group_feature)
    return [int(feature) for feature in np.argsort(-counts, kind="stable")[:n]]


class TestSearch:
    """Edits and their search, beside whole forward passes."""

    def test_edited_logits(self, probe: Probe, reading: Reading) -> None:
        """Several edits of several features at once are those of a hook in the whole model."""
        a, b, c = frequent(reading, 3)
        sets: list[Factors] = [{a: 0.0}, {b: 2.0, c: 0.5}, {}]
        logits = edited_logits(probe, reading, sets)
        for factors, one in zip(sets, logits, strict=True):
            np.testing.assert_allclose(one, brute_force(probe, reading, factors), atol=2e-5)
        assert np.abs(logits[1] - logits[2]).max() > 1e-3

    def test_steps(self, probe: Probe, reading: Reading) -> None:
        """A planted repair: labels are what the classifier says without its five most frequent features."""
        planted = dict.fromkeys(frequent(reading, 5), 0.0)
        goal = edited_logits(probe, reading, [planted])[0]
        labels = (goal - reading.logits).argmax(1)  # the class that the features hold down most
        stopping = np.arange(60) % 3 == 0
        result = search(probe, reading, labels, stopping, 4)
        assert len(result.steps) == 4
        assert {step.feature for step in result.steps} & set(planted)
        rows, before = np.arange(60), result.risk
        edits: dict[int, float] = {}
        for step in result.steps:
            edits[step.feature] = step.factor
            wrong = 1 - softmax(brute_force(probe, reading, edits))[rows, labels]
            assert step.risk == pytest.approx(wrong[~stopping].mean(), abs=1e-5)
            assert step.stopping_risk == pytest.approx(wrong[stopping].mean(), abs=1e-5)
            assert step.risk < before
            before = step.risk
        reached = [result.stopping_risk, *(step.stopping_risk for step in result.steps)]
        assert reached[result.n_kept] == min(reached)
        assert list(result.edits) == [step.feature for step in result.steps[: result.n_kept]]

    def test_last_inputs(self, probe: Probe, reading: Reading) -> None:
        """The last layer's inputs times its weights are the logits."""
        inputs, head = last_inputs(probe, reading), probe.model.classifier
        assert inputs is not None
        logits = inputs @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
        np.testing.assert_allclose(logits, reading.logits, atol=1e-5)


class TestFile:
    """What the verb writes."""

    def test_halves(self, run: Run, found: MendingFile) -> None:
        """Headlines that test are the run's testing half; the others search and choose the number of edits."""
        tests = in_testing_half([prompt.headline_id for prompt in run.prompts])
        assert found.n_search + found.n_stopping == (~tests).sum()
        assert found.steps
        assert found.n_search_errors >= 10

    def test_given_edits(self, root: Path, run: Run, probe: Probe, classifier: Classifier, reading: Reading) -> None:
        """Edits of the user are only tested, and their figures are those of whole forward passes."""
        a, b = frequent(reading, 2)
        file = mend(MendConfig(edits=(f"{a}:0", f"{b}:3"), random_sets=20), root, CPU)
        tests = np.flatnonzero(in_testing_half([prompt.headline_id for prompt in run.prompts]))
        own = probe.read(classifier.tokenize([run.prompts[n].text for n in tests]))
        after = brute_force(probe, own, {a: 0.0, b: 3.0}).argmax(1)
        labels = np.array([run.prompts[n].label for n in tests])
        before = np.array([run.prompts[n].prediction for n in tests])
        assert file.change is not None
        assert (file.steps, file.n_search, file.change.n_headlines) == ([], 0, len(tests))
        assert file.change.accuracy_after == pytest.approx((after == labels).mean())
        assert file.change.mended == ((before != labels) & (after == labels)).sum()
        assert file.change.made == ((before == labels) & (after != labels)).sum()
        counts = np.zeros((3, 3), int)
        np.add.at(counts, (before, after), 1)
        assert file.transitions == counts.tolist()
        assert file.random_sets is not None
        assert len(file.random_sets.accuracy_changes) == 20
        assert read_added(run.folder, MENDING, MendingFile) == file

    def test_set(self, root: Path, run: Run, probe: Probe, classifier: Classifier, reading: Reading) -> None:
        """All features of a set are ablated together, and the file names the set."""
        chosen = sorted(frequent(reading, 3))
        name_sets(root, run, {"the frequent": {"features": chosen}, "other": {"features": [1]}})
        file = mend(MendConfig(set="the frequent", random_sets=20), root, CPU)
        assert [(edit.feature, edit.factor) for edit in file.edits] == [(feature, 0.0) for feature in chosen]
        tests = np.flatnonzero(in_testing_half([prompt.headline_id for prompt in run.prompts]))
        own = probe.read(classifier.tokenize([run.prompts[n].text for n in tests]))
        after = brute_force(probe, own, dict.fromkeys(chosen, 0.0)).argmax(1)
        labels = np.array([run.prompts[n].label for n in tests])
        assert file.change is not None
        assert file.change.accuracy_after == pytest.approx((after == labels).mean())
        assert file.random_sets is not None
        assert len(file.random_sets.accuracy_changes) == 20
        assert (file.config["set"], file.n_search) == ("the frequent", 0)
        assert "the set 'the frequent', all 3 features ablated" in list(mending_lines(file))

    def test_fits(self, run: Run, found: MendingFile) -> None:
        """The file fits its run, and one that was changed does not."""
        assert list(mending_problems(found, run.metadata, run.checksum)) == []
        wrong = found.model_copy(update={"labels": ["a", "b", "c"]})
        assert list(mending_problems(wrong, run.metadata, run.checksum))
        more = found.model_copy(update={"n_search": 10_000})
        assert [field for field, _ in mending_problems(more, run.metadata, run.checksum)] == ["n_search, n_stopping"]


class TestBadInput:
    """One sentence each."""

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--edits", "99999:0"], "There is no feature 99999; this SAE has features 0 to"),
            (["--edits", "3"], "edits"),
            (["--edits", "3:0,3:1"], "each feature is edited once"),
            (["--edits", "3:-1"], "edits"),
            (["--run", "77"], "no run"),
            (["--set", "rates"], "no set of features named 'rates'"),
            (["--set", "rates", "--edits", "3:0"], "either edits or a set of features, not both"),
            (["--set", "x" * 121], "set"),
        ],
    )
    def test_flags(self, root: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Edits that no SAE can make, and a run that is not there."""
        assert main(["mend", "--root", str(root), "--device", "cpu", *flags]) == 2
        error = capsys.readouterr().err
        assert said.lower() in error.lower()
        assert error.count("error: ") == 1

    def test_unknown_set(self, root: Path, run: Run) -> None:
        """The sentence lists the sets that there are, or says that there are none."""
        name_sets(root, run, {"the frequent": {"features": [3]}, "other": {"features": [1]}})
        with pytest.raises(UserError, match="no set of features named 'rates'; it has 'the frequent', 'other'"):
            mend(MendConfig(set="rates"), root, CPU)
        name_sets(root, run, {})
        with pytest.raises(UserError, match="no sets yet"):
            mend(MendConfig(set="rates"), root, CPU)
        name_sets(root, run, {"rates": {"features": [10**6]}})
        with pytest.raises(UserError, match=r"sets\.rates\.1000000: this SAE has features 0 to"):
            mend(MendConfig(set="rates"), root, CPU)

    def test_few_errors(self, root: Path) -> None:
        """A search on ten headlines."""
        with pytest.raises(UserError, match=r"a search needs 10 errors"):
            mend(MendConfig(max_headlines=30), root, CPU)

    def test_broken(self) -> None:
        """Edits after which every prediction is of one class; a class that was there alone before is no damage."""
        all_one = np.full(12, 2)
        check_not_broken(all_one, all_one, ["Down", "Up", "Flat"])
        with pytest.raises(UserError, match="break the classifier: it predicts Flat for all 12 headlines"):
            check_not_broken(np.arange(12) % 3, all_one, ["Down", "Up", "Flat"])

    def test_without_labels(self, root: Path, tmp_path: Path) -> None:
        """A run whose headlines have no labels."""
        folder = find_run(root / "analysis_data", None)
        shutil.copytree(root, tmp_path / "study")
        metadata = tmp_path / "study" / "analysis_data" / folder.name / "metadata.json"
        told = json.loads(metadata.read_bytes())
        assert told["labelled"] is True
        del told["checksum"]
        write_sealed(metadata, json.dumps({**told, "labelled": False}).encode())
        with pytest.raises(UserError, match="no labels"):
            mend(CONFIG, tmp_path / "study", CPU)
