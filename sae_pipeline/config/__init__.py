"""One small frozen config per stage, validated when it is made, and the two presets.

The command line's flags and the notebook's parameters are these fields. Each artefact stores the config it was made
with.
"""

from sae_pipeline.config.base import TOKENS_PER_BATCH, Config, Precision
from sae_pipeline.config.findings import (
    AnalyzeConfig,
    CalibrateConfig,
    CompareConfig,
    ContrastConfig,
    ExplainConfig,
    FamilyConfig,
    InterveneConfig,
    MapConfig,
    MendConfig,
    ScoreConfig,
    UnsealConfig,
)
from sae_pipeline.config.sharing import (
    RUN_FORMATS,
    SAE_FORMATS,
    ExportConfig,
    ImportConfig,
    PaperConfig,
    PullConfig,
    PushConfig,
    RunFormat,
    SaeFormat,
    Shared,
    TrackConfig,
)
from sae_pipeline.config.study import PRESETS, StudyConfig, study_config
from sae_pipeline.config.training import (
    DEFAULT_DATA,
    DEFAULT_K,
    AdoptConfig,
    ExtractConfig,
    FinetuneConfig,
    FinishConfig,
    HeadlinesConfig,
    LayersConfig,
    SweepConfig,
    TrainConfig,
    default_k,
)

__all__ = [
    "DEFAULT_DATA",
    "DEFAULT_K",
    "PRESETS",
    "RUN_FORMATS",
    "SAE_FORMATS",
    "TOKENS_PER_BATCH",
    "AdoptConfig",
    "AnalyzeConfig",
    "CalibrateConfig",
    "CompareConfig",
    "Config",
    "ContrastConfig",
    "ExplainConfig",
    "ExportConfig",
    "ExtractConfig",
    "FamilyConfig",
    "FinetuneConfig",
    "FinishConfig",
    "HeadlinesConfig",
    "ImportConfig",
    "InterveneConfig",
    "LayersConfig",
    "MapConfig",
    "MendConfig",
    "PaperConfig",
    "Precision",
    "PullConfig",
    "PushConfig",
    "RunFormat",
    "SaeFormat",
    "ScoreConfig",
    "Shared",
    "StudyConfig",
    "SweepConfig",
    "TrackConfig",
    "TrainConfig",
    "UnsealConfig",
    "default_k",
    "study_config",
]
