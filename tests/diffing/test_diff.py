"""The verb on models whose difference is known, its crosscoder beside plain definitions, its control, and bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.activations.hidden_states import HiddenStates
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import read_sealed
from sae_pipeline.causal.edited import edited_logits
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.config import DiffConfig, TrainConfig
from sae_pipeline.diffing.changes import MIN_HEADLINES, Changes, replication
from sae_pipeline.diffing.crosscoder import Crosscoder, JointReading, Place
from sae_pipeline.diffing.examples import examples
from sae_pipeline.diffing.verb import diff
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.runs.fit_added import diff_problems
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.schema.diff import CHANGES, DIFF, DiffFile
from sae_pipeline.study import present
from tests.conftest import SmallStudy
from tests.support.encoders import finbert_like, save_encoder
from tests.support.small_study import write_headlines

CPU = torch.device("cpu")
WORD = "shares"  # frequent in the built-in headlines


def planted(study: SmallStudy, folder: Path) -> Path:
    """The small study's classifier, in whose eyes one word is another."""
    classifier = present.load_classifier(study.root, CPU)
    tokens = {word: classifier.tokenizer.convert_tokens_to_ids(word) for word in (WORD, "the")}
    embeddings = classifier.model.get_input_embeddings().weight.data
    embeddings[tokens[WORD]] = embeddings[tokens["the"]]
    classifier.model.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study whose run may be written to."""
    folder = study.copied(tmp_path_factory.mktemp("diff"))
    (folder / "headlines.csv").write_bytes((study.root / "headlines.csv").read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def found(root: Path, study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> DiffFile:
    """`diff.json` beside a model that does not know one word."""
    before = planted(study, tmp_path_factory.mktemp("planted"))
    return diff(DiffConfig(before=str(before), d_sae=256, k=16, features=4, random_sets=2, examples=2), root, CPU)


class Read:
    """Two models, a crosscoder of them, and the headlines that both have read."""

    def __init__(self, classifier: Classifier, headlines: list[TokenizedHeadline], folder: Path) -> None:
        self.networks = [load_pretrained("minilm", 3).network, classifier.model]
        site = present.load_sae(classifier.folder.parents[2], 4, "1k", CPU)[0].config.hookpoint
        self.place = Place(site, "words", classifier.tokenizer.pad_token_id, 2048)
        acts = [self.place.training_acts(network, headlines) for network in self.networks]
        config = TrainConfig(kind="batchtopk", latent_dims=(64,), k=8, num_epochs=2)
        with unfinished(folder, "crosscoder") as checkpoint:
            self.crosscoder = Crosscoder.train(acts, self.place, config, CPU, checkpoint)
        self.states: list[HiddenStates] = [self.place.hidden_states(one, headlines) for one in self.networks]
        self.joint = JointReading.of(self.crosscoder, self.states)


@pytest.fixture(scope="module")
def read(classifier: Classifier, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """MiniLM before and after, with few features."""
    headlines = classifier.tokenize([prompt.text for prompt in run.prompts])
    return Read(classifier, headlines, tmp_path_factory.mktemp("checkpoints"))


class TestCrosscoder:
    """One dictionary of two models, by its formulas."""

    def test_it_reconstructs_both(self, read: Read) -> None:
        """The residuals are x_norm − f·W_dec − b_dec of each model, and its FVU is their share of the variance."""
        sae = read.crosscoder.sae
        x = read.crosscoder.normalised([one.acts("words") for one in read.states]).double()
        f = torch.relu(x @ sae.W_enc.double() + sae.b_enc.double())
        f = f * (f > sae.threshold)
        assert len(read.joint.firings.feature) == pytest.approx(int((f > 0).sum()), rel=1e-3)
        rest = x - f @ sae.W_dec.double() - sae.b_dec.double()
        width = x.shape[1] // 2
        for model, residual in enumerate(read.joint.residuals):
            own = slice(model * width, (model + 1) * width)
            assert (residual - rest[:, own]).abs().max() < 1e-3
            variance = (x[:, own] - x[:, own].mean(0)).square().sum()
            assert read.joint.fvu[model] == pytest.approx(float(rest[:, own].square().sum() / variance), rel=1e-3)
        assert max(read.joint.fvu) < 0.8

    def test_strengths(self, read: Read) -> None:
        """The squares of a feature's strengths add up to 1."""
        assert np.allclose((read.crosscoder.strengths**2).sum(0), 1.0, atol=1e-5)

    def test_an_ablation_takes_the_direction_of_one_model(self, read: Read) -> None:
        """The probe of the classifier moves hidden states by −scale·f·W_dec of the classifier's own part."""
        crosscoder, classifier = read.crosscoder, read.networks[1]
        probe = crosscoder.probe(1, classifier, read.place.pad_id, 2048)
        reading = read.joint.reading(1, read.states[1].rerun(probe.tail, 2048))
        feature = int(np.bincount(read.joint.firings.feature).argmax())
        edited = edited_logits(probe, reading, [{feature: 0.0}])[0]
        moved = read.states[1].acts("words").clone()
        own = read.joint.firings.feature == feature
        key = read.joint.headline * 1000 + read.joint.position
        site = np.searchsorted(key, (read.joint.firings.headline * 1000 + read.joint.firings.position)[own])
        f = torch.from_numpy(read.joint.firings.value[own])
        moved[site] -= crosscoder.scales[1] * f[:, None] * crosscoder.directions(1)[feature]
        by_hand = read.states[1].replaced("words", moved).rerun(probe.tail, 2048)
        assert np.abs(edited - by_hand).max() < 1e-4
        assert np.abs(edited - reading.logits).max() > 1e-3

    def test_examples_show_both_models(self, read: Read) -> None:
        """At each token: the distance in the feature's direction with the other features taken out."""
        joint, crosscoder = read.joint, read.crosscoder
        feature = int(np.bincount(joint.firings.group_feature).argmax())
        numbers = np.arange(joint.n_headlines)
        shown = examples(crosscoder, joint, numbers, feature, 2, 0, 1)
        peaks = joint.firings.group_max[joint.firings.group_feature == feature]
        assert len(shown) == 2
        for example, peak in zip(shown, np.sort(peaks)[::-1], strict=False):
            assert example.positions == joint.states[0].tokenized[example.headline].counted("words")
            for model, values in enumerate((example.before, example.after)):
                sites = torch.from_numpy(joint.headline == example.headline)
                w = crosscoder.directions(model)[feature]
                rest = joint.residuals[model][sites]
                own = joint.firings.feature == feature
                own &= joint.firings.headline == example.headline
                f = torch.zeros(len(rest))
                places = np.searchsorted(joint.position[sites.numpy()], joint.firings.position[own])
                f[places] = torch.from_numpy(joint.firings.value[own])
                assert float(f.max()) == pytest.approx(float(peak))
                without_others = rest + f[:, None] * w
                expected = torch.relu(without_others @ (w / w.norm()))
                assert np.allclose(values, expected.numpy(), rtol=1e-3, atol=1e-3)


class TestVerb:
    """The verb beside a model that differs in one word."""

    def test_the_planted_difference_is_found(self, found: DiffFile) -> None:
        """The word that is another one before has a feature whose direction turned; hardly any other changed."""
        turned = [one for one in found.features if one.change == "turned"]
        assert turned and turned[0].words[0] == WORD and turned[0].cosine < 0.0
        assert found.counts.total <= 3 and found.n_live > 100
        (example, *_) = turned[0].examples
        assert len(example.before) == len(example.after) == len(example.positions)

    def test_the_file(self, found: DiffFile, run: Run) -> None:
        """It stands in the run as it was returned, and fits the run."""
        stored = read_added(run.folder, DIFF, DiffFile)
        assert stored == found
        assert not list(diff_problems(found, run.metadata, run.checksum, [len(one.tokens) for one in run.prompts]))
        assert [model.role for model in found.models] == ["before", "after"]
        assert found.counts_control is None and found.replication is None
        assert found.models[1].classifier_hash == run.metadata.classifier_hash
        correct = np.mean([prompt.label == prompt.prediction for prompt in run.prompts])
        assert found.models[1].accuracy == pytest.approx(correct)
        assert sum(found.growth) == found.n_live and found.n_headlines == len(run.prompts)

    def test_noise_is_no_change(self, root: Path, study: SmallStudy, tmp_path: Path) -> None:
        """A copy of the classifier with a thousandth of noise: hardly any feature has grown or faded."""
        classifier = present.load_classifier(study.root, CPU)
        embeddings = classifier.model.get_input_embeddings().weight.data
        noise = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0))
        embeddings += 1e-3 * embeddings.std() * noise
        classifier.model.save_pretrained(tmp_path)
        classifier.tokenizer.save_pretrained(tmp_path)
        config = DiffConfig(before=str(tmp_path), d_sae=128, k=16, features=3, random_sets=1)
        same = diff(config, root, CPU)
        assert same.n_live > 50
        assert same.counts.grown + same.counts.faded <= same.n_live * 0.02
        assert same.models[0].accuracy == pytest.approx(same.models[1].accuracy, abs=0.01)
        assert same.models[0].fvu == pytest.approx(same.models[1].fvu, rel=0.05)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder, fine-tuned, with an SAE and a run."""
    folder = tmp_path_factory.mktemp("tiny")
    save_encoder("bert", folder / "encoder")
    write_headlines(folder / "headlines.csv", 400)
    place = ["--root", str(folder)]
    made = ["--preset", "demo", "--source", str(folder / "headlines.csv"), "--model", str(folder / "encoder")]
    learnt = ["--epochs", "4", "--learning-rate", "1e-2", "--batch-size", "16", "--new-head", "true"]
    assert main(["finetune", *made, *learnt, *place]) == 0
    assert main(["train", "--layer", "2", "--latent-dims", "64", "--batch-size", "128", *place]) == 0
    assert main(["analyze", "--layer", "2", "--sae-size", "64", *place]) == 0
    return folder


@pytest.fixture(scope="module")
def made(tiny: Path) -> DiffFile:
    """`diff.json` beside a control that is made for it; the present classifier stays present."""
    present_one = tiny / "finbert_sae" / "classifier.json"
    before = present_one.read_bytes()
    few = ["--before", str(tiny / "encoder"), "--d-sae", "128", "--k", "8", "--random-sets", "2"]
    assert main(["diff", "--control-seed", "1", *few, "--root", str(tiny)]) == 0
    assert present_one.read_bytes() == before
    (folder,) = (tiny / "analysis_data").glob("*_run-*")
    return DiffFile.model_validate_json(read_sealed(folder / DIFF, 1 << 24))


class TestControl:
    """A second seed beside the first, in a tiny study of its own."""

    def test_the_control_is_made_and_found_again(self, tiny: Path, made: DiffFile) -> None:
        """Counts between seeds, and features that grew with both; later it is there already."""
        assert [model.role for model in made.models] == ["before", "after", "control"]
        assert made.models[0].accuracy is None and made.models[2].accuracy is not None
        assert made.counts_control and made.replication and made.growth_control
        assert sum(made.growth_control) == made.n_live
        assert made.replication.n_both <= min(made.replication.n_after, made.replication.n_control)
        assert made.replication.n_after == made.counts.grown
        again = diff(DiffConfig(before=str(tiny / "encoder"), d_sae=128, k=8, random_sets=2), tiny, CPU)
        assert again.models == made.models and again.growth_control == made.growth_control

    def test_sets(self, made: DiffFile) -> None:
        """The features that changed most are ablated together, beside sets of others that contribute about as much."""
        assert [(one.change, one.role) for one in made.sets][-1] == ("grown", "control")
        for one in made.sets:
            assert one.n_features == min(50, getattr(made.counts, one.change))
            assert len(one.random_changed) == len(one.random_accuracies) == 2
            assert 0.1 < one.random_contribution < 2.0

    @pytest.mark.parametrize(
        ("flags", "sentence"),
        [
            ("", "was fine-tuned from a folder, encoder; say where it is by --before"),
            ("--before {root}/nowhere", "nowhere is neither a local folder nor could it be fetched"),
            ("--before {root}/other", "reads the headlines as other tokens"),
            ("--before {root}/narrow", "has activations of width 16"),
            ("--before {root}/encoder --control-seed 0", "has the seed 0 itself"),
            ("--before {root}/finbert --control-seed 5", "the control is fine-tuned from encoder@"),
            ("--before {own}", "is the run's own classifier"),
            ("--before {root}/finbert_sae/store/{own}/", "is the run's own classifier"),
            ("--before {other} --control-seed 1", "is already the model before"),
            ("--before {root}/same", "compute the same, so there is nothing to compare"),
            ("--before {root}/encoder --max-vectors 512 --d-sae 4 --k 9", "more than the 4 there are"),
        ],
    )
    def test_bad_input(
        self, tiny: Path, made: DiffFile, flags: str, sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One sentence, exit code 2, and no file is left half written."""
        if not (tiny / "other").exists():
            save_encoder("roberta", tiny / "other")
            finbert_like(tiny / "narrow", ["a", "b", "c"])
            save_encoder("bert", tiny / "finbert")
            config = json.loads((tiny / "finbert" / "config.json").read_text())
            (tiny / "finbert" / "config.json").write_text(json.dumps({**config, "architectures": ["Other"]}))
        own = json.loads((tiny / "finbert_sae" / "classifier.json").read_text())["classifier_hash"]
        if not (tiny / "same").exists():
            shutil.copytree(tiny / "finbert_sae" / "store" / own, tiny / "same")
        other = made.models[2].model
        given = flags.format(root=tiny, own=own, other=other).split()
        assert main(["diff", *given, "--root", str(tiny)]) == 2
        said = capsys.readouterr().err
        assert sentence.lower() in said.lower() and "Traceback" not in said


def test_kinds_of_change(read: Read) -> None:
    """Growth is relative to the median; each live feature has at most one kind, and the rest have none."""
    live = np.bincount(read.joint.firings.group_feature, minlength=64) >= MIN_HEADLINES
    changes = Changes.between(read.crosscoder, 0, 1, live)
    assert np.median(changes.growth[live]) == pytest.approx(0.0)
    kinds = np.stack([getattr(changes, kind) for kind in CHANGES])
    assert kinds.sum(0).max() <= 1 and not kinds[:, ~live].any()
    other = Changes.between(read.crosscoder, 1, 0, live)
    assert np.allclose(other.growth, -changes.growth) and (other.grown == changes.faded).all()
    assert (
        changes.most("grown", 3).tolist()
        == sorted(np.flatnonzero(changes.grown).tolist(), key=lambda one: -changes.growth[one])[:3]
    )


def test_what_chance_gives() -> None:
    """Of two normal growths with a correlation of ½, a third is positive in both; without growth there is none."""
    half = np.repeat([1.0, -1.0], 300)
    changes = Changes(np.ones(600, bool), half, np.ones(600))
    found = replication(changes, changes)
    assert (found.n_after, found.n_control, found.n_both) == (300, 300, 300)
    assert found.expected == pytest.approx(200.0, rel=1e-3)
    none = Changes(np.ones(600, bool), np.zeros(600), np.ones(600))
    assert replication(none, changes).expected == replication(none, changes).n_both == 0
