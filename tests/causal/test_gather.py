"""Causal findings about a run: the files, their figures against brute force, and bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from scipy import stats

from sae_pipeline import pipeline
from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import unseal
from sae_pipeline.causal.edits import Edit, edit_hidden
from sae_pipeline.causal.gather import hardest
from sae_pipeline.causal.interactions import FLOOR
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.logits import centred
from sae_pipeline.config import ExportConfig, InterveneConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import counted_mask
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.index import INDEX_FILES
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS, FeatureEffectsFile, InterventionsFile
from sae_pipeline.study import present
from sae_pipeline.study.export import export
from sae_pipeline.study.report_runs import causal_lines
from tests.conftest import SmallStudy

CPU = torch.device("cpu")
CONFIG = InterveneConfig(
    steps=16, features_per_headline=4, agreement_headlines=20, curve_headlines=10, flip_headlines=5, bootstrap=100,
    max_flip_features=4, ablate=(3, 5), word_headlines=20, interaction_headlines=50, interaction_share=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the study whose run may be written to."""
    return study.copied(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def interventions(root: Path, run: Run) -> InterventionsFile:
    """`interventions.json`, written by the verb."""
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name not in INDEX_FILES}
    found = pipeline.intervene(CONFIG, root, CPU)
    assert {name: (run.folder / name).read_bytes() for name in before} == before, "the run itself is not touched"
    return found


class TestFiles:
    """What the verb writes."""

    def test_interventions(self, run: Run, interventions: InterventionsFile) -> None:
        """Read back alike; one record per headline; predictions are the run's; effects add up to the logits."""
        assert InterventionsFile.model_validate_json(unseal((run.folder / INTERVENTIONS).read_bytes())) == interventions
        assert [h.headline_id for h in interventions.headlines] == [p.headline_id for p in run.prompts]
        for record, prompt in zip(interventions.headlines, run.prompts, strict=True):
            assert int(np.argmax(record.logits)) == prompt.prediction
            total = np.sum([f.effects for f in record.features], 0) + record.base + record.rest
            np.testing.assert_allclose(total, record.logits, atol=1e-4)
            assert len(record.features) <= CONFIG.features_per_headline
            for feature in record.features:
                assert sum(feature.position_effects) == pytest.approx(feature.effects[prompt.prediction], abs=1e-4)
            if record.flip:
                assert record.flip.prediction != prompt.prediction
            if record.repair:
                assert record.repair.prediction == prompt.label != prompt.prediction
        assert interventions.completeness_gap < 1e-3

    def test_listed_effects_are_true(self, root: Path, run: Run, interventions: InterventionsFile) -> None:
        """An ablation in the file equals the whole model inside `intervene`."""
        classifier, sae = present.run_parts(root, run.metadata, CPU)
        probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
        headline = classifier.tokenize([run.prompts[7].text])
        hidden, input_ids, mask = probe.read(headline).padded(np.array([0]))
        counted = counted_mask(headline, "words")
        for feature in interventions.headlines[7].features:
            with torch.no_grad():
                after = probe.tail(edit_hidden(hidden, counted, sae, [Edit(feature.feature)]), input_ids, mask).numpy()[
                    0
                ]
            expected = np.array(interventions.headlines[7].logits) - centred(after)
            np.testing.assert_allclose(feature.ablation_logits, expected, atol=1e-4)

    def test_joint_effects_are_true(self, root: Path, run: Run, interventions: InterventionsFile) -> None:
        """The joint effect in the file equals the whole model without all listed features."""
        classifier, sae = present.run_parts(root, run.metadata, CPU)
        probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
        headline = classifier.tokenize([run.prompts[7].text])
        hidden, input_ids, mask = probe.read(headline).padded(np.array([0]))
        record, edits = interventions.headlines[7], [Edit(f.feature) for f in interventions.headlines[7].features]
        with torch.no_grad():
            edited = edit_hidden(hidden, counted_mask(headline, "words"), sae, edits)
            after = probe.tail(edited, input_ids, mask).numpy()[0]
        assert record.joint_effects is not None and len(edits) > 1
        np.testing.assert_allclose(record.joint_effects, np.array(record.logits) - centred(after), atol=1e-4)

    def test_interactions(self, run: Run, interventions: InterventionsFile) -> None:
        """Pairs are measured where the sum misses the joint effect, in hard headlines; the summary counts them."""
        above, measured = [], []
        for record, prompt in zip(interventions.headlines, run.prompts, strict=True):
            assert record.joint_effects is not None
            joint = record.joint_effects[prompt.prediction]
            miss = abs(joint - sum(f.ablation_logits[prompt.prediction] for f in record.features))
            above += [record.headline] if miss > max(CONFIG.interaction_share * abs(joint), FLOOR) else []
            measured += [record.headline] if record.interactions else []
        hard = hardest(run.prompts, CONFIG.interaction_headlines)
        assert measured == [n for n in above if n in hard] and measured
        found = interventions.interactions
        assert found is not None and found.measured_miss is not None and found.left_miss is not None
        assert (found.n_headlines, found.n_above, found.n_measured) == (len(run.prompts), len(above), len(measured))

    def test_unflipped(self, run: Run, interventions: InterventionsFile) -> None:
        """Each prediction that was searched and not changed has a reason; clamping leads to the class that it names."""
        for n_searched, n_found, summary, path, name in (
            (interventions.flips_searched, interventions.flips_found, interventions.unflipped, "flip", "unflipped"),
            (
                interventions.repairs_searched, interventions.repairs_found, interventions.unrepaired, "repair",
                "unrepaired",
            ),
        ):  # fmt: skip
            held = [(h, one) for h in interventions.headlines if (one := getattr(h, name))]
            assert len(held) == n_searched - n_found > 0 and not any(getattr(h, path) for h, _ in held)
            reasons = [one.reason for _, one in held]
            clamped = [(h, one.clamped) for h, one in held if one.clamped]
            assert summary is not None and summary.n_clamped == len(clamped)
            assert (summary.n_base, summary.n_spread) == (reasons.count("base"), reasons.count("spread"))
            for headline, found in clamped:
                second = int(np.argsort(headline.logits)[-2])
                goal = second if name == "unflipped" else run.prompts[headline.headline].label
                assert found.prediction == goal and len(found.features) <= CONFIG.max_flip_features
        lines = "\n".join(causal_lines(interventions))
        assert (
            "not flipped: " in lines
            and "not repaired: " in lines
            and "with the interactions of all pairs added" in lines
        )

    def test_an_older_file(self, interventions: InterventionsFile) -> None:
        """A file without the later fields is read, and the report leaves out what it does not say."""
        later = {"unflipped", "unrepaired", "joint_effects", "interactions"}
        content = interventions.model_dump(mode="json", exclude=later)
        content["headlines"] = [h.model_dump(mode="json", exclude=later) for h in interventions.headlines]
        older = InterventionsFile.model_validate(content)
        assert not later & older.model_fields_set and older.interactions is None
        assert "not flipped" not in "\n".join(causal_lines(older))

    def test_words(self, run: Run, interventions: InterventionsFile) -> None:
        """One number per word, in the hardest headlines alone; agreements and their means are what scipy says."""
        hard = set(hardest(run.prompts, CONFIG.word_headlines))
        found = {record.headline: record.word_effects for record in interventions.headlines if record.word_effects}
        assert found.keys() == hard and len(hard) == CONFIG.word_headlines
        for record in interventions.headlines:
            if not (words := found.get(record.headline)):
                continue
            n, prediction = max(run.prompts[record.headline].words) + 1, run.prompts[record.headline].prediction
            assert len(words.integrated_gradients) == len(words.occlusion) == len(words.features) == n
            assert sum(words.features) == pytest.approx(record.logits[prediction] - record.base[prediction], abs=1e-2)
            for agreement, other in ((words.agreement, words.occlusion), (words.feature_agreement, words.features)):
                if agreement is not None:
                    expected = stats.spearmanr(words.integrated_gradients, other).statistic
                    assert agreement == pytest.approx(expected, abs=0.02)
        summary = interventions.word_effects
        assert summary is not None and (summary.baseline, summary.n_headlines) == ("[MASK]", len(hard))
        means = [np.mean([getattr(words, name) for words in found.values() if getattr(words, name) is not None])
                 for name in ("agreement", "feature_agreement")]  # fmt: skip
        assert [summary.agreement, summary.feature_agreement] == pytest.approx(means, abs=1e-4)
        gaps = [abs(r.logits[run.prompts[r.headline].prediction] - w.base - sum(w.integrated_gradients))
                for r in interventions.headlines if (w := r.word_effects)]  # fmt: skip
        assert summary.completeness_gap == pytest.approx(float(np.median(gaps)), abs=1e-3) and np.median(gaps) < 0.05

    def test_words_as_parquet(self, root: Path, run: Run, interventions: InterventionsFile, tmp_path: Path) -> None:
        """The exported table of headlines has the words of tokens and the effects of words, null where unknown."""
        table = parquet.read_table(export(ExportConfig(to="parquet", out=str(tmp_path)), 4, root) / "headlines.parquet")
        assert table["words"].to_pylist() == [prompt.words for prompt in run.prompts]
        for name in ("integrated_gradients", "occlusion", "features"):
            known = {h.headline: getattr(h.word_effects, name) for h in interventions.headlines if h.word_effects}
            assert dict(enumerate(table[f"word_{name}"].to_pylist())) == {n: known.get(n) for n in range(len(table))}

    def test_report(self, run: Run, interventions: InterventionsFile) -> None:
        """Splicing as the SAE's own report has it; all curves; estimates that agree with the truth; a table of it."""
        report = run.metadata.sae.report.spliced
        assert interventions.faithfulness.accuracy_spliced == pytest.approx(report.accuracy_spliced, abs=0.02)
        assert interventions.faithfulness.unchanged == pytest.approx(report.unchanged, abs=0.02)
        assert np.sum(interventions.faithfulness.flips) == len(run.prompts)
        assert len(interventions.curves) == 6 and all(c.n_headlines == 10 for c in interventions.curves)
        assert all(a.pearson > 0.8 for a in interventions.agreement if a.estimate == "gradient")
        assert interventions.set_ablation is not None and interventions.set_ablation.features == [3, 5]
        text = "\n".join(causal_lines(interventions))
        assert "words of 20 headlines" in text
        assert "recovered loss" in text and "features 3, 5 ablated everywhere" in text

    def test_feature_effects(self, run: Run, interventions: InterventionsFile) -> None:
        """Columns of d_sae numbers with names of their own; classes cancel; leaders lead."""
        file = FeatureEffectsFile.model_validate_json(unseal((run.folder / FEATURE_EFFECTS).read_bytes()))
        labels = {metric.label for metric in file.metrics}
        assert {"Bearish effect", "Bullish effect", "Neutral effect", "Error lift"} <= labels
        columns = {column.name: column for column in file.columns}
        assert columns.keys() == {metric.name for metric in file.metrics}
        assert not columns.keys() & {metric.name for metric in run.metadata.metrics}
        total = np.sum([columns[f"effect_{c}"].values for c in ("bearish", "bullish", "neutral")], 0)
        np.testing.assert_allclose(total, 0, atol=1e-5)
        for column in file.columns:
            assert len(column.values) == len(column.n) == file.d_sae == run.metadata.sae.d_sae
            assert column.values[column.top[0]] == max(column.values)
        # A value within rounding of zero may fire in one batch and not in another.
        assert np.abs(np.subtract(columns["effect_bullish"].n, run.feature_stats.headline_counts)).sum() <= 5

    def test_again_and_by_command(self, root: Path, run: Run, interventions: InterventionsFile) -> None:
        """The verb runs from the command line, replaces the files and gives the same figures."""
        flags = [
            "--steps=1",
            "--bootstrap=100",
            "--agreement-headlines=0",
            "--curve-headlines=0",
            "--flip-headlines=0",
            "--word-headlines=0",
        ]
        assert main(["intervene", "--root", str(root), "--device", "cpu", *flags]) == 0
        again = InterventionsFile.model_validate_json(unseal((run.folder / INTERVENTIONS).read_bytes()))
        assert (again.config["steps"], again.curves, again.flips_searched) == (1, [], 0)
        assert again.word_effects is None and not any(record.word_effects for record in again.headlines)
        assert again.faithfulness.accuracy_clean == interventions.faithfulness.accuracy_clean

    def test_the_hardest_headlines_alone(self, root: Path, run: Run, interventions: InterventionsFile) -> None:
        """`max_headlines` reads the wrong predictions and the least sure; what is found in them is the same."""
        n = 5 + sum(prompt.label != prompt.prediction for prompt in run.prompts)
        few = pipeline.intervene(CONFIG.model_copy(update={"max_headlines": n, "steps": 1}), root, CPU)
        chosen = [record.headline for record in few.headlines]
        assert len(chosen) == n == few.faithfulness.n_headlines and chosen == sorted(chosen)
        right = [h for h, prompt in enumerate(run.prompts) if prompt.label == prompt.prediction]
        least_sure = sorted(right, key=lambda h: run.prompts[h].probabilities[run.prompts[h].label])[:5]
        assert set(chosen) == {*range(len(run.prompts))} - {*right} | {*least_sure}
        for record in few.headlines:
            whole = interventions.headlines[record.headline]
            assert record.headline_id == whole.headline_id == run.prompts[record.headline].headline_id
            np.testing.assert_allclose(record.logits, whole.logits, atol=1e-4)
        assert f"{n} headlines (the wrong ones" in next(causal_lines(few))
        file = FeatureEffectsFile.model_validate_json(unseal((run.folder / FEATURE_EFFECTS).read_bytes()))
        assert file.n_headlines == n and all(f"Only {n} headlines" in metric.description for metric in file.metrics)


class TestBadInput:
    """One sentence each, nothing written."""

    def test_unknown_run_and_feature(self, root: Path) -> None:
        """A run that is not there; a feature beyond the SAE."""
        with pytest.raises(UserError, match="no run '99'"):
            pipeline.intervene(InterveneConfig(run="99"), root, CPU)
        with pytest.raises(UserError, match="no feature 5000"):
            pipeline.intervene(InterveneConfig(ablate=(5000,)), root, CPU)

    def test_changed_or_missing_parts(self, root: Path, run: Run, tmp_path: Path) -> None:
        """The SAE of the run is gone, or another one lies in its place."""
        copy = tmp_path / "study"
        shutil.copytree(root, copy)
        store = copy / "finbert_sae" / "store"
        other = next(p for p in store.glob("*/sae.pt") if p.parent.name != run.metadata.sae_hash)
        shutil.copy(other, store / run.metadata.sae_hash / "sae.pt")
        with pytest.raises(UserError, match="which is damaged"):
            pipeline.intervene(CONFIG, copy, CPU)
        (store / run.metadata.sae_hash / "sae.pt").unlink()
        with pytest.raises(UserError, match=r"sae\.pt is missing"):
            pipeline.intervene(CONFIG, copy, CPU)

    def test_interrupted(self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C in the middle leaves the run as it was."""
        copy = tmp_path / "study"
        shutil.copytree(root, copy)
        folder = find_run(copy / "analysis_data", None)
        for name in (FEATURE_EFFECTS, INTERVENTIONS):
            (folder / name).unlink(missing_ok=True)
        before = sorted(p.name for p in folder.iterdir())

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Probe, "replaced_logits", interrupt)
        assert main(["intervene", "--root", str(copy), "--device", "cpu"]) == 130
        assert sorted(p.name for p in folder.iterdir()) == before

    def test_flags(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A number that does not fit its field."""
        assert main(["intervene", "--root", str(root), "--steps", "0"]) == 2
        assert "intervene, steps" in capsys.readouterr().err
