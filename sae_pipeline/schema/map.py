"""The live features of a run in the plane: `map.json`."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share

MAP = "map.json"
MAX_REGIONS = 60
Words = Annotated[str, Field(max_length=200)]


class MapRegion(Record):
    """A dense part of the map."""

    name: Words = Field(description="its most central words; empty where its features have no words")
    words: list[Words] = Field(max_length=12, description="words of its features, the most central first")
    n_features: NonNegativeInt
    x: Share = Field(description="median of its features' places")
    y: Share


class MapFile(MadeFrom):
    """`map.json`: a place in the unit square for every live feature, alike ones together; `method` says how."""

    d_sae: int
    method: str = Field(max_length=500, description="how the features were placed, with version and settings")
    seed: NonNegativeInt
    named_by: str = Field(max_length=500, description="how the regions were named")
    features: list[NonNegativeInt] = Field(description="the features that fire in this run, ascending")
    x: list[Share] = Field(description="one per entry of `features`, as are the next two")
    y: list[Share]
    region: list[Annotated[int, Field(ge=-1)]] = Field(description="index into `regions`; -1: between regions")
    regions: list[MapRegion] = Field(max_length=MAX_REGIONS, description="largest first")
