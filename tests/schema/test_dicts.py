"""The types of records as they are built have the fields of the models by which these records are read."""

from typing import is_typeddict

import pytest
from pydantic import BaseModel

from sae_pipeline.schema import cause_dicts, causes, common, dicts, names, run

MODELS: dict[str, type[BaseModel]] = {
    name: model
    for module in (causes, common, names, run)
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
}
DICTS: dict[str, type] = {
    name: kind for module in (dicts, cause_dicts) for name, kind in vars(module).items() if is_typeddict(kind)
}
OTHER_NAME = {"Metadata": "RunMetadata", "Interventions": "InterventionsSummary"}
OTHER_NAME |= {name: f"{name}File" for name in ("FeatureStats", "Neighbours", "FeatureEffects", "Names")}
MADE_WITH = {"classifier_hash", "sae_hash"}  # which the draft of a run adds
LEFT_OUT = {
    "Metadata": {"sae_hash", "schema_version", "run_id", "created_at", "files"},
    "MetricColumn": {"tested", "n", "low", "high", "q"},
    "FeatureEffects": {"columns"},
    "FeatureStats": MADE_WITH,
    "Neighbours": MADE_WITH,
    "Names": {*MADE_WITH, "features"},
}
PARTS = {"Provenance": "RunMetadata", "EffectColumn": "MetricColumn", "EstimateColumn": "MetricColumn"}
PARTS |= {"Causes": "InterventionsSummary"}


@pytest.mark.parametrize("name", sorted(DICTS))
def test_a_dict_has_the_fields_of_its_model(name: str) -> None:
    fields, name = set(DICTS[name].__annotations__), name.removesuffix("Dict")
    if name in PARTS:
        assert fields <= MODELS[PARTS[name]].model_fields.keys()
    else:
        assert fields == MODELS[OTHER_NAME.get(name, name)].model_fields.keys() - LEFT_OUT.get(name, set())


def test_the_dicts_of_columns_together_have_every_field_of_a_column() -> None:
    assert set(dicts.EstimateColumnDict.__annotations__) == run.MetricColumn.model_fields.keys()
