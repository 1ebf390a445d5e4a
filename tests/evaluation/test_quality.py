"""Controls, probes, stability, family and the end-to-end finish: known answers, and the verbs on the small study."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from sae_pipeline import pipeline, quality
from sae_pipeline.__main__ import main
from sae_pipeline.config import CompareConfig, ExtractConfig, FamilyConfig, FinishConfig, TrainConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.controls import neurons, pca
from sae_pipeline.evaluation.family import match_features, nearest_rows, stability
from sae_pipeline.evaluation.probing import headline_maxima, probe_scores
from sae_pipeline.kernels.reference import compress
from sae_pipeline.runs.folders import read_run
from sae_pipeline.sae.finish import reconstruct
from sae_pipeline.schema.family import FAMILY, FamilyFile
from sae_pipeline.study import present
from tests.conftest import SmallStudy
from tests.sae.test_autoencoder import random_sae
from tests.support.small_study import N_HEADLINES, write_headlines

CPU = torch.device("cpu")


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


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
        """A sentence."""
        with pytest.raises(UserError, match="1 to 12 components"):
            pca(self.x, self.like(), 13)  # type: ignore[arg-type]


class TestProbing:
    """k-sparse probes of labels."""

    def test_known_answers(self) -> None:
        """A feature that is the label scores 1; noise scores about a half; the telling one is found among many."""
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
        sae, x = random_sae(), torch.randn(50, 12)
        headline = torch.arange(50) // 5
        found = headline_maxima(sae, x, headline, 10).toarray()
        expected = sae.encode(x).view(10, 5, -1).amax(1)
        assert found == pytest.approx(expected.numpy(), abs=1e-5)


class TestFamily:
    """The same features elsewhere."""

    def test_stability_known_answers(self) -> None:
        """Permuted copies are perfectly stable; dead features do not count; independent directions are at chance."""
        rows = unit(torch.randn(200, 64, generator=torch.Generator().manual_seed(0)))
        other = unit(torch.randn(200, 64, generator=torch.Generator().manual_seed(9)))
        live = torch.ones(200, dtype=torch.bool)
        same = stability([0, 1], [rows, rows.flip(0)], [live, live])
        assert same.mean_cosine == pytest.approx(1, abs=1e-5) and same.matched_share == 1
        different = stability([0, 1], [rows, other], [live, live])
        assert different.mean_cosine == pytest.approx(different.chance_cosine, abs=0.02)
        assert different.matched_share == 0
        part = live.clone()
        part[:100] = False
        mixed = torch.cat([other[:100], rows[100:]])
        assert stability([0, 1], [rows, mixed], [part, part]).matched_share == 1

    def test_one_seed(self) -> None:
        """One seed says nothing about stability."""
        rows = unit(torch.randn(4, 3))
        with pytest.raises(UserError, match="at least two different seeds"):
            stability([7], [rows], [torch.ones(4, dtype=torch.bool)])
        with pytest.raises(UserError, match="at least two different seeds"):
            study_config("demo", compare={"seeds": (1, 1)})

    def test_verdicts(self) -> None:
        """A kept direction is a match, a direction that became two is split, a lost one absent."""
        e = torch.eye(5)
        own = e[[0, 1, 2]]
        other = torch.stack([e[0], unit((e[1] + e[3])[None] * 1.0)[0] * 1.0, unit((e[1] - 1.6 * e[3])[None])[0], e[4]])
        f_own = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
        f_other = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        other[1] = unit((e[3] + 0.01 * e[1])[None])[0]
        found = match_features(own, other, compress(f_own), compress(f_other))
        assert found.verdict == ["match", "split", "absent"]
        assert found.feature[:2] == [0, 2]
        assert found.coactivation == pytest.approx([1, 1, 0])
        assert found.cosine[:2] == pytest.approx([1, 1 / (1 + 1.6**2) ** 0.5])

    def test_nearest_rows_against_float64(self) -> None:
        """Indices and cosines as computed whole, whatever the chunks."""
        a, b = unit(torch.randn(2500, 16)), unit(torch.randn(300, 16))
        index, cosine = nearest_rows(a, b)
        whole = (a.double() @ b.double().T).max(1)
        assert cosine == pytest.approx(whole.values.float(), abs=1e-5)
        assert (index == whole.indices).float().mean() > 0.999


def test_gradients_of_the_finish() -> None:
    """The sparse reconstruction's gradients are autograd's, in every weight."""
    sae, x = random_sae(), torch.randn(40, 12)
    target = torch.randn(40, 12)
    for parameter in sae.parameters():
        parameter.requires_grad_(True)
    assert torch.allclose(reconstruct(sae, x), sae(x), atol=1e-5)
    ours = torch.autograd.grad((reconstruct(sae, x) * target).sum(), list(sae.parameters()))
    theirs = torch.autograd.grad((sae(x) * target).sum(), list(sae.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study that may be added to."""
    root = tmp_path_factory.mktemp("quality")
    shutil.copytree(study.root, root, dirs_exist_ok=True)
    return root


class TestVerbs:
    """finish, compare and family on the small study."""

    def test_finish(self, tmp_path: Path) -> None:
        """On held-out headlines the KL falls and L0 stays; the result is a size of its own that is reused.

        Of a classifier that has learned no headlines: what it makes of those that the SAE is fitted on and of others
        is alike, so that what is gained on the ones is gained on the others.
        """
        root = tmp_path
        write_headlines(root / "headlines.csv", N_HEADLINES)
        source, still = {"source": str(root / "headlines.csv")}, {"epochs": 1, "learning_rate": 1e-9}
        pipeline.finetune(study_config("demo", headlines=source, finetune=still), root, CPU)
        pipeline.train(ExtractConfig(layer=4), TrainConfig(kind="batchtopk", k=4, latent_dims=(128,)), root, CPU)
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

    def test_compare_and_family(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Controls score worse, finished SAEs of two seeds are compared, and the family names sizes and seeds."""
        quality.finish(FinishConfig(sae_size="1k"), 4, root, CPU)
        file = quality.compare(CompareConfig(sae_size="1k-e2e", seeds=(0, 1), probe_sizes=(1, 5)), 4, root, CPU)
        by_name = {c.name: c for c in file.controls}
        assert list(by_name) == ["sae", "pca", "neurons", "random model"]
        assert by_name["sae"].code.fvu < by_name["neurons"].code.fvu
        assert by_name["sae"].spliced.unchanged > 0.9  # type: ignore[union-attr]
        assert by_name["random model"].spliced is None
        assert by_name["sae"].probing[1].auroc > by_name["random model"].probing[1].auroc
        assert file.stability.mean_cosine > file.stability.chance_cosine
        found = quality.family(FamilyConfig(), root, CPU)
        run = max((root / "analysis_data").glob("*_run-*"))
        assert FamilyFile.model_validate_json((run / FAMILY).read_bytes()) == found
        assert {m.size for m in found.members} >= {"1k"}
        assert all(len(m.verdict) == found.d_sae for m in found.matches)
        assert main(["family", "--root", str(root)]) == 0
        assert "match" in capsys.readouterr().out
        assert main(["report", "--root", str(root)]) == 0
        told = capsys.readouterr().out
        page = (root / "finbert_sae" / "training_report.html").read_text(encoding="utf-8")
        for text in (told, page):
            assert "random model" in text and "recovered loss" in text and "stability over seeds 0, 1" in text
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
