"""What all configs have in common."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Precision = Literal["auto", "fp32", "bf16"]
TOKENS_PER_BATCH = 4096
"""The default token budget of a batch that is read, padding included. Devices that want another one take it then."""


class Config(BaseModel):
    """A frozen config that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
