"""The verbs finish, compare and family on the small study."""

import shutil
from pathlib import Path

import pytest
import torch

from sae_pipeline import pipeline, quality
from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import unseal
from sae_pipeline.config import CompareConfig, ExtractConfig, FamilyConfig, FinishConfig, TrainConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.family import FAMILY, FamilyFile
from sae_pipeline.study import present
from tests.conftest import SmallStudy
from tests.support.small_study import N_HEADLINES, write_headlines

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study that may be added to."""
    root = tmp_path_factory.mktemp("quality")
    shutil.copytree(study.root, root, dirs_exist_ok=True)
    return root


def stored_decoder(root: Path, sae_hash: str) -> torch.Tensor:
    """The decoder rows of an SAE in the store."""
    return present.stored_sae(root / "finbert_sae" / "store" / sae_hash, CPU).W_dec


class TestVerbs:
    """What the verbs write, and what they refuse."""

    def test_finish(self, tmp_path: Path) -> None:
        """On held-out headlines the KL falls and L0 stays; the result is a size of its own that is reused.

        The classifier has not learned its training headlines by heart, so it treats them like the held-out ones, and
        the gain on the first carries over to the second.
        """
        root = tmp_path
        write_headlines(root / "headlines.csv", N_HEADLINES)
        source, still = {"source": str(root / "headlines.csv")}, {"epochs": 1, "learning_rate": 1e-9}
        pipeline.finetune(study_config("demo", headlines=source, finetune=still), root, CPU)
        narrow = TrainConfig(kind="batchtopk", k=4, latent_dims=(128,), num_epochs=3)
        pipeline.train(ExtractConfig(layer=4), narrow, root, CPU)
        config = FinishConfig(sae_size="128", epochs=2, learning_rate=1e-3, kl_weight=3e4, tokens_per_batch=128)
        before = present.load_sae(root, 4, "128", CPU)[1]
        made = quality.finish(config, 4, root, CPU)
        assert made.report.spliced.mean_kl < 0.8 * before.report.spliced.mean_kl  # type: ignore[operator]
        assert made.report.held_out.l0 == pytest.approx(before.report.held_out.l0, rel=0.1)
        assert quality.finish(config, 4, root, CPU) == made
        assert (root / "finbert_sae" / "layer_4_128-e2e.pt").is_file()
        with pytest.raises(UserError, match="finished already"):
            quality.finish(FinishConfig(sae_size="128-e2e"), 4, root, CPU)
        run = read_run(pipeline.analyze(study_config("demo", analyze={"sae_size": "128-e2e"}), root, CPU))
        assert run.metadata.sae.size == "128-e2e" and set(run.metadata.sae_family) == {"128", "128-e2e"}

    @pytest.mark.full
    def test_compare_and_family(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The SAE beats neurons and a random model; two seeds are compared; the family names sizes and seeds."""
        quality.finish(FinishConfig(sae_size="1k"), 4, root, CPU)
        file = quality.compare(CompareConfig(sae_size="1k-e2e", seeds=(0, 1), probe_sizes=(1, 5)), 4, root, CPU)
        by_name = {c.name: c for c in file.controls}
        assert list(by_name) == [
            *("sae", "frozen decoder", "frozen encoder", "pca", "neurons", "random model"),
            *("activations", "bag of words"),
        ]
        assert all(by_name["sae"].code.fvu < by_name[name].code.fvu for name in ("neurons", "frozen encoder"))  # type: ignore[union-attr]
        low, high = by_name["sae"].fvu_interval  # type: ignore[misc]
        assert low < by_name["sae"].code.fvu < high  # type: ignore[union-attr]
        assert by_name["sae"].spliced.unchanged > 0.9  # type: ignore[union-attr]
        assert by_name["random model"].spliced is None
        assert by_name["sae"].probing[1].auroc > by_name["random model"].probing[1].auroc
        assert [probe.k for probe in by_name["bag of words"].probing] == [1, 5, None]
        assert [probe.k for probe in by_name["activations"].probing] == [None]
        assert all(p.auroc_interval[0] <= p.auroc <= p.auroc_interval[1] for c in file.controls for p in c.probing)  # type: ignore[index]
        assert [one.seed for one in file.seeds] == [0, 1] and file.seeds[0].probing == by_name["sae"].probing
        assert len(file.claims) == 3 * 7 + 4  # probes against seven baselines, FVU against four
        assert file.stability.mean_cosine > file.stability.chance_cosine
        assert len(file.stability.found) == 2 and file.stability.chance_share == 0
        found = quality.family(FamilyConfig(), root, CPU)
        run = max((root / "analysis_data").glob("*_run-*"))
        assert FamilyFile.model_validate_json(unseal((run / FAMILY).read_bytes())) == found
        assert {m.size for m in found.members} >= {"1k"}
        assert all(len(m.verdict) == found.d_sae for m in found.matches)
        assert found.stability is None
        assert main(["family", "--root", str(root)]) == 0
        assert "one seed only; --seeds 0,1,2 trains" in capsys.readouterr().out
        assert main(["family", "--root", str(root), "--seeds", "0"]) == 2
        assert "beside the run's own, which is 0" in capsys.readouterr().err
        assert main(["family", "--root", str(root), "--seeds", "0,1"]) == 0
        assert "found again in the seeds 1:" in capsys.readouterr().out
        again = FamilyFile.model_validate_json(unseal((run / FAMILY).read_bytes()))
        own = stored_decoder(root, read_run(run).metadata.sae_hash)
        (other,) = [m.sae_hash for m in again.members if m.size == "2k"]
        cosines = (own.double() @ stored_decoder(root, other).double().T).max(1).values
        live = torch.tensor(read_run(run).feature_stats.headline_counts) > 0
        assert again.stability is not None
        assert again.stability.found == torch.bincount((cosines >= 0.7).long()[live], minlength=2).tolist()
        assert main(["report", "--root", str(root)]) == 0
        output = capsys.readouterr().out
        page = (root / "finbert_sae" / "training_report.html").read_text(encoding="utf-8")
        for text in (output, page):
            assert "random model" in text and "recovered loss" in text and "stability over seeds 0, 1" in text
            assert "frozen decoder" in text and "bag of words" in text and "claims that the SAE is better" in text
        assert "Wilson interval" in page and "Feature density" in page
        for controls in (root / "finbert_sae" / "evidence").iterdir():
            controls.write_text("{")
        assert main(["report", "--root", str(root)]) == 2
        assert "is damaged" in capsys.readouterr().err

    @pytest.mark.parametrize("verb", ["compare", "evidence"])
    def test_one_seed_on_the_command_line(self, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A seed list of one ends with one sentence; `evidence` is another name of `compare`."""
        assert main([verb, "--seeds", "3"]) == 2
        assert "at least two different seeds" in capsys.readouterr().err
