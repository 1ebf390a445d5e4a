"""The configs of a whole study, and the two presets."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sae_pipeline.config.base import Config
from sae_pipeline.config.findings import (
    AnalyzeConfig,
    CalibrateConfig,
    CompareConfig,
    ContrastConfig,
    DiffConfig,
    ExplainConfig,
    FamilyConfig,
    InterveneConfig,
    MapConfig,
    MendConfig,
    ScoreConfig,
    UnsealConfig,
)
from sae_pipeline.config.sharing import ExportConfig, ImportConfig, PaperConfig, PullConfig, PushConfig, TrackConfig
from sae_pipeline.config.training import (
    AdoptConfig,
    ExtractConfig,
    FinetuneConfig,
    FinishConfig,
    HeadlinesConfig,
    LayersConfig,
    SweepConfig,
    TrainConfig,
)
from sae_pipeline.errors import UserError


class StudyConfig(Config):
    """The configs of all stages of one study."""

    preset: str = "finbert"
    headlines: HeadlinesConfig = HeadlinesConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    adopt: AdoptConfig = AdoptConfig()
    extract: ExtractConfig = ExtractConfig()
    train: TrainConfig = TrainConfig()
    sweep: SweepConfig = SweepConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    score: ScoreConfig = ScoreConfig()
    intervene: InterveneConfig = InterveneConfig()
    finish: FinishConfig = FinishConfig()
    compare: CompareConfig = CompareConfig()
    layers: LayersConfig = LayersConfig()
    family: FamilyConfig = FamilyConfig()
    map: MapConfig = MapConfig()
    paper: PaperConfig = PaperConfig()
    unseal: UnsealConfig = UnsealConfig()
    contrast: ContrastConfig = ContrastConfig()
    mend: MendConfig = MendConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    diff: DiffConfig = DiffConfig()
    explain: ExplainConfig = ExplainConfig()
    export: ExportConfig = ExportConfig()
    import_: ImportConfig = ImportConfig()
    push: PushConfig = PushConfig()
    pull: PullConfig = PullConfig()
    track: TrackConfig = TrackConfig()


PRESETS: dict[str, StudyConfig] = {
    "finbert": StudyConfig(),
    "demo": StudyConfig(
        preset="demo",
        headlines=HeadlinesConfig(source="sample"),
        finetune=FinetuneConfig(model="minilm", learning_rate=1.5e-4),
        extract=ExtractConfig(layer=4),
        train=TrainConfig(latent_dims=(4096, 8192, 16384, 32768), num_epochs=3),
        intervene=InterveneConfig(max_headlines=300, agreement_headlines=50, curve_headlines=50, flip_headlines=50),
    ),
}


def study_config(preset: str = "finbert", **changes: Mapping[str, Any]) -> StudyConfig:
    """Take a preset and change some fields: `study_config("demo", train={"num_epochs": 5})`.

    Raises UserError for an unknown preset, stage or field and for a value that does not fit.
    """
    if preset not in PRESETS:
        raise UserError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    study = PRESETS[preset]
    stages: dict[str, Config] = {}
    for stage, values in changes.items():
        base = getattr(study, stage, None)
        if not isinstance(base, Config):
            raise UserError(f"There is no stage {stage!r}; choose from {', '.join(type(study).model_fields)}.")
        try:
            stages[stage] = type(base).model_validate({**base.model_dump(), **values})
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:
                raise UserError(f"{stage}: {first['msg'].removeprefix('Value error, ')}.") from error
            place = f"{stage.rstrip('_')}, {str(first['loc'][0]).rstrip('_')}"  # import_ and from_ are Python's words
            raise UserError(f"{place}: {first['msg']} (given: {repr(first['input'])[:60]}).") from error
    return study.model_copy(update=stages)
