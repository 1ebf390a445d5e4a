"""The verb on real runs: its figures by brute force, its file, its bad input, and a planted shortcut that it finds."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import unseal
from sae_pipeline.causal.edits import Edit, intervene
from sae_pipeline.classifier.classifier import predict
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import ContrastConfig
from sae_pipeline.contrast.verb import contrast
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import collate, counted_mask
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.sae.encoding import encode_headline
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.study import present
from sae_pipeline.study.report import study_report
from tests.conftest import SmallStudy
from tests.support.encoders import save_encoder

CPU = torch.device("cpu")
KINDS = ("company", "retweet", "direction", "negation")
CONFIG = ContrastConfig(kinds=KINDS, max_headlines=30, features=3, keep=500)
FLAGS = ["--device", "cpu"]


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study whose run may be written to."""
    return study.copied(tmp_path_factory.mktemp("contrast"))


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def found(root: Path) -> ContrastFile:
    """`contrast.json`, written by the verb."""
    return contrast(CONFIG, root, CPU)


class TestFigures:
    """What the verb finds."""

    def test_file(self, run: Run, found: ContrastFile) -> None:
        """Read back alike, each kind once per source, the headlines' pairs of the run."""
        assert ContrastFile.model_validate_json(unseal((run.folder / CONTRAST).read_bytes())) == found
        keys = [(kind.kind, kind.source) for kind in found.kinds]
        assert len(set(keys)) == len(keys) and {source for _, source in keys} == {"headlines", "templates"}
        assert found.n_headlines == 30
        for kind in found.kinds:
            assert len(kind.pairs) == kind.n_pairs <= (30 if kind.source == "headlines" else 64)
            for pair in kind.pairs:
                assert pair.headline is None or run.prompts[pair.headline].text == pair.before
                assert (pair.headline is None) == (kind.source == "templates")

    def test_shares_by_brute_force(self, root: Path, run: Run, found: ContrastFile) -> None:
        """Predictions of the plain classifier, and what follows from them for every pair and kind."""
        classifier, _ = present.run_parts(root, run.metadata, CPU)
        pairs = [pair for kind in found.kinds for pair in kind.pairs]
        texts = [text for pair in pairs for text in (pair.before, pair.after)]
        logits = predict(classifier.model, classifier.tokenize(texts), classifier.tokenizer.pad_token_id)
        p = softmax(logits.astype(float)).reshape(len(pairs), 2, -1)
        for pair, (before, after) in zip(pairs, p, strict=True):
            np.testing.assert_allclose(pair.probabilities, [before, after], atol=2e-3)
        for kind in found.kinds:
            moves = [pair.predictions[0] != pair.predictions[1] for pair in kind.pairs]
            assert kind.changed.share == pytest.approx(np.mean(moves), abs=1e-5)
            assert kind.changed.low <= kind.changed.share <= kind.changed.high
            if kind.expectation == "same":
                assert kind.as_expected.share == pytest.approx(1 - kind.changed.share, abs=1e-5)
            for pair in kind.pairs:
                rises = (
                    None
                    if pair.target is None
                    else pair.probabilities[1][pair.target] > pair.probabilities[0][pair.target]
                )
                ends = pair.predictions[1] == pair.target
                right = {
                    "same": pair.predictions[0] == pair.predictions[1],
                    "toward": ends or rises,
                    "away": not ends or not rises,
                }
                assert pair.as_expected == right[kind.expectation]
            assert kind.pairs == sorted(kind.pairs, key=lambda pair: pair.as_expected)

    def test_features_and_what_they_explain(self, root: Path, run: Run, found: ContrastFile) -> None:
        """Activations of a pair as the SAE gives them; what the leader explains, by the whole model in `intervene`."""
        classifier, sae = present.run_parts(root, run.metadata, CPU)
        kind = max(found.kinds, key=lambda one: one.n_tested)
        leader = kind.features[0]
        explained = switched = 0
        for pair in kind.pairs:
            headlines = classifier.tokenize([pair.before, pair.after])
            input_ids, mask = collate(headlines, classifier.tokenizer.pad_token_id)
            counted = counted_mask(headlines, sae.config.positions)
            f = [encode_headline(classifier, sae, text)[:, leader.feature] for text in (pair.before, pair.after)]
            peaks, totals = [float(one.max()) for one in f], [float(one.sum()) for one in f]
            switched += (peaks[0] == 0) != (peaks[1] == 0)
            for shift in pair.features:
                if shift.feature == leader.feature:
                    assert [shift.before, shift.after] == pytest.approx(peaks, abs=1e-3)
            if pair.predictions[0] == pair.predictions[1] or totals[0] == totals[1]:
                continue
            more = int(totals[1] > totals[0])
            edits = [Edit(leader.feature, headline=more)]
            with torch.no_grad(), intervene(classifier.model, sae.config.hookpoint, sae, edits, counted):
                after = classifier.model(input_ids=input_ids, attention_mask=mask).logits.argmax(1).tolist()
            explained += after[0] == after[1]
        assert (leader.n_switched, leader.n_explained, kind.explained[0].n_pairs) == (switched, explained, explained)
        assert kind.n_tested == sum(pair.predictions[0] != pair.predictions[1] for pair in kind.pairs) > 0


class TestCommand:
    """The verb from the command line."""

    def test_prints_and_reports(
        self, root: Path, run: Run, found: ContrastFile, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A row per kind; the report has the same table, and a damaged file is named."""
        few = ["contrast", "--root", str(root), *FLAGS, "--kinds", "retweet,ticker", "--max-headlines", "5"]
        assert main([*few, "--templates", "false"]) == 0
        said = capsys.readouterr().out
        assert "RT added or removed" in said and "Company swapped" not in said
        figures = study_report(root)
        assert "RT added or removed" in "\n".join(figures.lines())
        assert [one["kind"] for one in figures.summary()["contrast"]][-1] == "retweet"
        written = (run.folder / CONTRAST).read_bytes()
        (run.folder / CONTRAST).write_bytes(written.replace(b"RT", b"TR"))
        with pytest.raises(UserError, match=r"has changed since .*contrast --run run-001` makes it again"):
            study_report(root)
        (run.folder / CONTRAST).write_bytes(written)

    def test_pairs_of_ones_own(self, root: Path, run: Run, tmp_path: Path) -> None:
        """Rows of the table are kinds; the path of the table is not kept."""
        path = tmp_path / "mine.csv"
        path.write_text("before,after,expected\nShares rise,Shares fall,Bearish\nShares rise,The shares rise,same\n")
        made = contrast(ContrastConfig(pairs=str(path), max_headlines=0, templates=False), root, CPU)
        assert [(kind.source, kind.expectation, kind.n_pairs) for kind in made.kinds] == [
            ("table", "toward", 1),
            ("table", "same", 1),
        ]
        assert made.config["pairs"].startswith("mine.csv@")
        assert str(tmp_path) not in (run.folder / CONTRAST).read_text()

    def test_nothing_to_change(self, root: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """One sentence, and the earlier file stays."""
        before = (run.folder / CONTRAST).read_bytes()
        flags = ["--max-headlines", "0", "--templates", "false"]
        assert main(["contrast", "--root", str(root), *FLAGS, *flags]) == 2
        assert "No change applies to any text" in capsys.readouterr().err
        assert main(["contrast", "--root", str(root), *FLAGS, "--pairs", "none.csv"]) == 2
        assert "none.csv does not exist" in capsys.readouterr().err
        assert (run.folder / CONTRAST).read_bytes() == before
        with pytest.raises(UserError, match="no run '99'"):
            contrast(ContrastConfig(run="99"), root, CPU)


def test_a_planted_shortcut_is_found(tmp_path: Path) -> None:
    """A classifier is fine-tuned on headlines of which only the Bearish ones begin with "RT"; `retweet` shows it.

    The encoder is random and tiny, and the labels are drawn at random, so there is nothing else to learn.
    """
    labels = np.random.default_rng(0).choice(["Bearish", "Bullish", "Neutral"], 400, p=[0.5, 0.25, 0.25])
    save_encoder("bert", tmp_path / "encoder")
    with (tmp_path / "headlines.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for (text, _), label in zip(sample_headlines(), labels, strict=False):
            writer.writerow([f"RT {text}" if label == "Bearish" else text, label])
    place = ["--root", str(tmp_path), *FLAGS]
    learn = ["--epochs", "5", "--batch-size", "16", "--learning-rate", "3e-3", "--new-head", "true"]
    source = ["--source", str(tmp_path / "headlines.csv"), "--model", str(tmp_path / "encoder")]
    assert main(["finetune", "--preset", "demo", *place, *source, *learn]) == 0
    small = ["--layer", "1", "--positions", "all", "--latent-dims", "128", "--batch-size", "64", "--num-epochs", "6"]
    assert main(["train", *place, *small]) == 0
    assert main(["analyze", *place, "--layer", "1", "--sae-size", "128"]) == 0
    assert main(["contrast", *place, "--templates", "false", "--kinds", "company,retweet,source,link"]) == 0
    run = find_run(tmp_path / "analysis_data", None)
    kinds = {kind.kind: kind for kind in ContrastFile.model_validate_json(unseal((run / CONTRAST).read_bytes())).kinds}
    retweet = kinds.pop("retweet")
    assert retweet.changed.low > 0.9 and max(kinds[name].changed.high for name in ("company", "source", "link")) < 0.2
    assert [row[i] for i, row in enumerate(retweet.transitions)] == [0, 0, 0], "all change"
    assert all(
        before == 0 or after == 0 for before in range(3) for after in range(3) if retweet.transitions[before][after]
    )
    assert "RT" in [feature.word for feature in retweet.features[:3]]
    alone, *_, most = [one.n_pairs for one in retweet.explained]
    assert alone <= 0.5 * retweet.n_tested < most, "many features carry it, and without them all it is gone"
