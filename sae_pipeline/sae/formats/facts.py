"""Facts about an SAE that our exports add to another library's config, because it has no fields for them."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats.files import ForeignConfig
from sae_pipeline.sae.formats.plain import Recorded
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.kinds import KINDS


class Facts(ForeignConfig):
    """Facts about an SAE of this program. Every field is null for an SAE that was made elsewhere."""

    kind: str | None = None
    k: Annotated[int, Field(ge=1)] | None = None
    prefixes: list[Annotated[int, Field(ge=1)]] = Field([])
    layer: int | None = None  # index into hidden_states
    positions: PositionKind | None = None
    classifier_hash: str | None = None
    data_hash: str | None = None
    l0: FiniteFloat | None = None  # on held-out headlines
    fvu: FiniteFloat | None = None

    def recorded(self, **others: Any) -> Recorded:
        """What the files say, with the fields that the other library's config gives."""
        own = {
            "layer": self.layer,
            "positions": self.positions,
            "classifier_hash": self.classifier_hash,
            "l0": self.l0,
            "fvu": self.fvu,
        }
        return Recorded(**{**others, **{name: value for name, value in own.items() if value is not None}})

    def check_sizes(self, path: Path, d_sae: int) -> None:
        """Raise UserError where k or the prefixes in the config at `path` do not fit an SAE of d_sae features."""
        if self.k is not None and self.k > d_sae:
            raise UserError(f"{path}: k = {self.k} is more than the {d_sae} features there are.")
        if self.prefixes and (sorted(set(self.prefixes)) != self.prefixes or self.prefixes[-1] != d_sae):
            raise UserError(f"{path}: the prefixes do not rise to the {d_sae} features there are.")

    def kind_of(self, rule: str) -> str:
        """The kind that our export recorded if it selects features by the same rule as the kind `rule`, else `rule`."""
        told = KINDS.get(self.kind or "")
        return told.name if told is not None and told.k_per_token == KINDS[rule].k_per_token else rule


def facts(sae: SparseAutoencoder, recorded: Recorded) -> dict[str, Any]:
    """The facts about one of our SAEs, as JSON."""
    own = sae.config
    return Facts(
        kind=own.kind,
        k=None if own.k is None else min(own.k, own.d_sae),
        prefixes=list(own.prefixes),
        layer=own.hookpoint.layer,
        positions=own.positions,
        classifier_hash=own.classifier_hash,
        data_hash=own.data_hash,
        l0=recorded.l0,
        fvu=recorded.fvu,
    ).model_dump()


_RESIDUAL = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d{1,4})(?:\.hook_resid_(pre|post))?$")


def residual_layer(hook: str | None) -> int | None:
    """The index into hidden_states for the name of a hook; None if the name is unknown or is of another place.

    Both "blocks.7.hook_resid_post" and "bert.encoder.layer.7" are hidden_states[8], "blocks.7.hook_resid_pre" is [7].
    """
    found = _RESIDUAL.search(hook or "")
    return None if found is None else int(found[1]) + (found[2] != "pre")
