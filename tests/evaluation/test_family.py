"""The same features in other SAEs, with known answers."""

import pytest
import torch

from sae_pipeline.config import study_config
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.family import chance_of_match, match_features, nearest_rows, stability
from sae_pipeline.kernels.reference import compress
from tests.support.saes import drawn


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


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

    def test_found_is_a_brute_force_count(self) -> None:
        """Live features with a partner, as counted in float64 in one product; a planted one is found in every seed."""
        base = drawn(0, 300, 24)
        decoders = [unit(base + 0.5 * drawn(seed, 300, 24)) for seed in range(1, 5)]
        planted = unit(drawn(99, 1, 24))
        decoders = [
            torch.cat([decoder[:-1], planted])[drawn(seed, 300).argsort()] for seed, decoder in enumerate(decoders)
        ]
        at = int((decoders[0] @ planted[0]).argmax())
        live = torch.arange(300) % 5 != (at + 1) % 5
        found = stability([7, 1, 2, 3], decoders, [live] * 4)
        cosines = [(decoders[0].double() @ other.double().T).max(1).values for other in decoders[1:]]
        times = sum((cosine >= 0.7).long() for cosine in cosines)
        assert isinstance(times, torch.Tensor) and int(times[at]) == 3
        assert found.found == torch.bincount(times[live], minlength=4).tolist()
        assert 0 < found.found[3] < int(live.sum())

    def test_chance_has_the_covariance_of_the_rows(self) -> None:
        """Isotropic rows in 64 dimensions are never matched by chance, rows that share a direction often are."""
        rows = unit(drawn(0, 400, 64))
        assert chance_of_match(rows, unit(drawn(1, 400, 64))) == 0
        narrow = unit(drawn(0, 400, 64) * torch.tensor([10.0] + [0.2] * 63))
        assert chance_of_match(narrow, unit(drawn(1, 400, 64) * torch.tensor([10.0] + [0.2] * 63))) > 0.5

    def test_one_seed(self) -> None:
        """One seed says nothing about stability."""
        rows = unit(drawn(0, 4, 3))
        with pytest.raises(UserError, match="at least two different seeds"):
            stability([7], [rows], [torch.ones(4, dtype=torch.bool)])
        with pytest.raises(UserError, match="at least two different seeds"):
            study_config("demo", compare={"seeds": (1, 1)})

    def test_verdicts(self) -> None:
        """A kept direction is a match, a direction that became two is split, a lost one absent."""
        e = torch.eye(5)
        own = e[[0, 1, 2]]
        other = unit(torch.stack([e[0], e[3] + 0.01 * e[1], e[1] - 1.6 * e[3], e[4]]))
        f_own = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
        f_other = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        found = match_features(own, other, compress(f_own), compress(f_other))
        assert found.verdict == ["match", "split", "absent"]
        assert found.feature[:2] == [0, 2]
        assert found.coactivation == pytest.approx([1, 1, 0])
        assert found.cosine[:2] == pytest.approx([1, 1 / (1 + 1.6**2) ** 0.5])

    def test_nearest_rows_against_float64(self) -> None:
        """Indices and cosines as computed whole, whatever the chunks."""
        a, b = unit(drawn(0, 2500, 16)), unit(drawn(1, 300, 16))
        index, cosine = nearest_rows(a, b)
        whole = (a.double() @ b.double().T).max(1)
        assert cosine == pytest.approx(whole.values.float(), abs=1e-5)
        assert (index == whole.indices).float().mean() > 0.999
