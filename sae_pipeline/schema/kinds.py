"""The kinds of SAE.

A new kind is one record in this file and one training step in `sae/kinds/`; no other file changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class PenaltyUnit:
    """λ_unit = constant · d_in^of_d_in · (d_sae / 4096)^of_d_sae, so that one L1_COEFFICIENT suits every size.

    The constants were chosen on dev.
    """

    constant: float
    of_d_in: float
    of_d_sae: float

    def weight(self, l1_coefficient: float, d_in: int, d_sae: int) -> float:
        """λ = l1_coefficient · λ_unit(d_in, d_sae)."""
        return float(l1_coefficient * self.constant * d_in**self.of_d_in * (d_sae / 4096) ** self.of_d_sae)


@dataclass(frozen=True)
class KindRecord:
    """Everything about one kind of SAE that the other rooms ask for."""

    name: str
    summary: str  # what the kind does, and its source
    step: str  # "module:class" of the training step, a `Stepper`
    penalty: PenaltyUnit | None  # the unit of λ where a penalty sets the sparsity; None where k does
    batch_size: int = 1024  # tokens per step, chosen on dev
    splits_by_features: bool = True  # whether processes can each train a part of the features
    nested: bool = False  # whether the features form nested dictionaries, given by their sizes (prefixes)
    k_per_token: bool = False  # active are the k largest of each token; for the others, all above a threshold
    saelens_architecture: Literal["standard", "topk", "jumprelu"] = "jumprelu"  # what SAELens loads it as

    @property
    def fixes_k(self) -> bool:
        """Whether k sets the sparsity: so many features are active per token, exactly or on average."""
        return self.penalty is None


# √d_in because f and the residual grow with ‖x_norm‖ = √d_in; the power of d_sae keeps L0 level across sizes.
# JumpReLU's penalty counts features, and L0 has no unit: it takes d_in instead, and less for larger dictionaries,
# whose thresholds learn from fewer entries each.
_RECORDS = (
    KindRecord(
        name="relu",
        summary="λ weighs Σf (Bricken et al. 2023, Cunningham et al. 2023)",
        step="sae_pipeline.sae.kinds.relu:ReluStep",
        penalty=PenaltyUnit(72.0, 0.5, 0.28),
        saelens_architecture="standard",
    ),
    KindRecord(
        name="topk",
        summary="k features per token (Gao et al. 2024)",
        step="sae_pipeline.sae.kinds.topk:TopKStep",
        penalty=None,
        batch_size=256,
        k_per_token=True,
        saelens_architecture="topk",
    ),
    KindRecord(
        name="batchtopk",
        summary="k features per token on average (Bussmann et al. 2024)",
        step="sae_pipeline.sae.kinds.topk:BatchTopKStep",
        penalty=None,
        batch_size=256,
    ),
    KindRecord(
        name="jumprelu",
        summary="λ weighs L0, thresholds are learnt (Rajamanoharan et al. 2024, July)",
        step="sae_pipeline.sae.kinds.jumprelu:JumpReluStep",
        penalty=PenaltyUnit(0.3, 1.0, -0.63),
    ),
    KindRecord(
        name="gated",
        summary="λ weighs Σgate (Rajamanoharan et al. 2024, April)",
        step="sae_pipeline.sae.kinds.gated:GatedStep",
        penalty=PenaltyUnit(106.0, 0.5, 0.28),
    ),
    KindRecord(
        name="matryoshka",
        summary="batchtopk in nested dictionaries (Bussmann et al. 2025)",
        step="sae_pipeline.sae.kinds.topk:MatryoshkaStep",
        penalty=None,
        batch_size=256,
        splits_by_features=False,
        nested=True,
    ),
)
KINDS: dict[str, KindRecord] = {record.name: record for record in _RECORDS}


def listed(names: Iterable[object], conjunction: str) -> str:
    """Join names for a sentence: "relu, topk or gated"."""
    *first, last = map(str, names)
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def _known_kind(name: str) -> str:
    if name not in KINDS:
        expected = listed(map(repr, KINDS), "or")
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return name


Kind = Annotated[str, AfterValidator(_known_kind)]
"""The name of a kind in `KINDS`."""
