"""One small frozen config per stage, validated when it is made, and the two presets.

The command line's flags and the notebook's parameters are these fields. Each artefact stores the config it was made
with.
"""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sae_pipeline.errors import UserError
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.kinds import KINDS, Kind, KindRecord, listed

Precision = Literal["auto", "fp32", "bf16"]
DEFAULT_K = 64  # active features per token
DEFAULT_DATA = "zeroshot/twitter-financial-news-sentiment"


class Config(BaseModel):
    """A frozen config that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HeadlinesConfig(Config):
    """Where headlines come from and how they are cleaned."""

    source: str = Field(
        DEFAULT_DATA,
        description='"sample" (built in), a table (CSV, JSON, Parquet, Excel, … see docs/data.md), or a hub id',
    )
    test_source: str | None = Field(
        None, description="file with the test split; without it a file is split by hash of the text"
    )
    columns: tuple[str, ...] = Field((), description='names of the columns of a file without a header: "label,text"')
    text_column: str | None = Field(None, description="column that holds the headline; none: found by its name")
    label_column: str | None = Field(None, description="column that holds the label; none: found by its name")
    label_map: str | None = Field(
        None, description='what labels mean, e.g. "negative=Bearish,positive=Bullish,1=Neutral"'
    )
    label_names: tuple[str, ...] = Field(
        (), description="the classes in order, as numbers count them; or a file with one in each line"
    )
    split_by: str | None = Field(
        None, description="column of dates: the latest headlines are the test split instead of a draw"
    )
    strip_links: bool = Field(True, description="remove links before tokenising")
    seal: bool = Field(
        False, description="keep a third of the test headlines out of everything until the verb unseal opens it once"
    )


_MAX_LENGTH = "tokens a headline is cut to; none: as many as the model reads"


class AdoptConfig(Config):
    """A classifier that is explained as it is, without training."""

    model: str = Field("ProsusAI/finbert", description="hub id or local folder of a fine-tuned classifier")
    max_length: int | None = Field(None, ge=8, description=_MAX_LENGTH)


class FinetuneConfig(Config):
    """How the classifier is fine-tuned."""

    model: str = Field(
        "ProsusAI/finbert", description='hub id or local folder of the encoder; "minilm" is the embedded one'
    )
    new_head: bool = Field(False, description="replace the head of a model that classifies something else")
    epochs: int = Field(3, ge=1, description="passes over train; the best on dev is kept")
    learning_rate: float = Field(2e-5, gt=0)
    batch_size: int = Field(32, ge=1, description="headlines per step")
    max_length: int | None = Field(None, ge=8, description=_MAX_LENGTH)
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of each label spread over all classes")
    class_weights: bool = Field(False, description="weigh classes by inverse frequency")
    precision: Precision = Field("auto", description="auto: bf16 where the chip has it")
    seed: int = 0


class ExtractConfig(Config):
    """Which activations are read."""

    layer: int = Field(8, ge=1, description="LAYER_TO_EXTRACT: hidden_states[layer]")
    positions: PositionKind = Field(
        "words",
        description="words: no special tokens; all: with [CLS] and [SEP]; one vector per headline: "
        "cls: [CLS], which the head reads, or mean: the mean of the words",
    )
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")
    precision: Precision = Field("auto", description="auto: bf16 where the chip has it")
    extra_text: str | None = Field(
        None, description='table whose text the SAEs also train on, without labels; or "sample" (see docs/data.md)'
    )


_FIXING_K = [name for name, record in KINDS.items() if record.fixes_k]
_PENALISED = [name for name, record in KINDS.items() if not record.fixes_k]


def _batch_sizes() -> str:
    """Say each kind's own batch size, for the help text."""
    usual = KindRecord.batch_size
    others = sorted({record.batch_size for record in KINDS.values()} - {usual})
    kinds = {size: [name for name, record in KINDS.items() if record.batch_size == size] for size in others}
    return ", ".join([*(f"{size:,} for {listed(kinds[size], 'and')}" for size in others), f"{usual:,} for the others"])


def default_k(d_sae: int) -> int:
    """Active features per token where none are named: 64, and in a narrow SAE an eighth of its features."""
    return max(1, min(DEFAULT_K, d_sae // 8))


class TrainConfig(Config):
    """How the SAEs are trained."""

    latent_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="LATENT_DIMS: d_sae of each SAE; none: one, recommended from the number of tokens"
    )
    kind: Kind = Field("relu", description=f"{listed(KINDS, 'or')}; see sae/kinds/")
    recipe: Literal["default", "seed"] = Field("default", description="see sae/training.py")
    l1_coefficient: float = Field(1e-3, ge=0, description=f"L1_COEFFICIENT: sparsity penalty; {', '.join(_PENALISED)}")
    target_l0: float | None = Field(None, gt=0, description="TARGET_L0: the penalty is steered to this L0 instead")
    k: int | None = Field(
        None,
        ge=1,
        description=f"active features per token; {', '.join(_FIXING_K)} (none: {DEFAULT_K}, for narrow SAEs fewer)",
    )
    num_epochs: int | None = Field(
        None, ge=1, description="NUM_EPOCHS: passes over the activations; none: 3, and up to 30 where tokens are few"
    )
    batch_size: int | None = Field(None, ge=1, description=f"tokens per step; none: {_batch_sizes()}, fewer of few")
    learning_rate: float | None = Field(None, gt=0, description="none: the kind's own, see sae/kinds/")
    buffer_mib: int = Field(1024, ge=1, description="activations held in memory; a larger store is shuffled in parts")
    stream: bool = Field(False, description="read the classifier while training instead of a store on disk")
    split: Literal["features", "tokens"] = Field(
        "features", description="what the processes that torchrun starts share of a step; see sae/kinds/sharing.py"
    )
    seed: int = Field(0, description="of the weights at the start")

    @model_validator(mode="after")
    def _sizes_differ(self) -> "TrainConfig":
        if len(set(self.latent_dims)) != len(self.latent_dims):
            raise ValueError("latent_dims must be different sizes")
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> "TrainConfig":
        if self.recipe == "seed" and (self.kind != "relu" or self.target_l0):
            raise ValueError("the recipe seed is of kind relu and has no target_l0")
        if self.k is not None and not self.fixes_k:
            raise ValueError(f"k belongs to {listed(_FIXING_K, 'and')}; use target_l0 for {self.kind}")
        if not self.latent_dims:
            return self
        wanted, smallest = self.active or self.target_l0, min(self.latent_dims)
        if wanted is not None and wanted > smallest:
            raise ValueError(f"{wanted:g} active features per token are more than the {smallest} there are")
        return self

    @property
    def fixes_k(self) -> bool:
        """Whether the kind fixes how many features are active."""
        return KINDS[self.kind].fixes_k

    @property
    def tokens_per_step(self) -> int:
        """`batch_size`, or the kind's own; chosen on dev."""
        return self.batch_size or KINDS[self.kind].batch_size

    @property
    def active(self) -> int | None:
        """k of the kinds that fix it; None for the others. The default is that of the smallest size."""
        if not self.fixes_k:
            return None
        return self.k or (max(1, round(self.target_l0)) if self.target_l0 else default_k(min(self.latent_dims)))


class SweepConfig(Config):
    """The values that a sweep combines; every combination is trained at every size."""

    l1_coefficients: tuple[Annotated[float, Field(ge=0)], ...] = Field((), description="values of L1_COEFFICIENT")
    target_l0s: tuple[Annotated[float, Field(gt=0)], ...] = Field((), description="values of TARGET_L0")
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="values of k, for the kinds that fix it")
    seeds: tuple[int, ...] = Field((), description="seeds of the weights at the start")

    def settings(self, config: TrainConfig) -> list[TrainConfig]:
        """The training configs of all combinations; a field that is not varied is taken from `config`."""
        varied = {"l1_coefficient": self.l1_coefficients, "target_l0": self.target_l0s, "k": self.ks}
        varied["seed"] = self.seeds
        fields = {name: dict.fromkeys(values) for name, values in varied.items() if values}
        try:
            return [
                TrainConfig.model_validate({**config.model_dump(), **dict(zip(fields, values, strict=True))})
                for values in product(*fields.values())
            ]
        except ValidationError as error:
            raise UserError(f"sweep: {error.errors()[0]['msg']}.") from error


class AnalyzeConfig(Config):
    """How much of the test split is read, and what a run keeps of it."""

    sae_size: str | None = Field(None, description='SAE_SIZE: "256", "4k", "32k"; none: the SAE that was trained last')
    max_samples: int | None = Field(None, ge=1, description="MAX_SAMPLES: test headlines to read; none: all")
    top_features: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        100, description='TOP_FEATURES: features per metric with saved examples; "all": every feature that fires'
    )
    top_tokens_per_feature: int = Field(20, ge=1, description="TOP_TOKENS_PER_FEATURE: examples per feature")
    top_features_per_headline: int = Field(10, ge=1, description="features kept per headline")
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")


class ScoreConfig(Config):
    """A table whose rows are scored: predictions and features are added to them."""

    table: str = Field("", description="a file, or a folder saved by datasets; with or without labels")
    out: str = Field("scores", description="folder that the scores are written into")
    sae_size: str | None = Field(
        None, description='SAE_SIZE: "256", "4k", "4k-e2e"; none: the SAE that was trained last'
    )
    features: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="features that get a column each in a table of their own, e.g. 12,345"
    )
    text_column: str | None = Field(None, description="column that holds the headline; none: found by its name")
    columns: tuple[str, ...] = Field((), description='names of the columns of a file without a header: "date,text"')
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")
    rows_per_part: int = Field(8192, ge=1, description="rows of each file; a call that was killed repeats one at most")

    @model_validator(mode="after")
    def _features_differ(self) -> "ScoreConfig":
        if len(set(self.features)) != len(self.features):
            raise ValueError("each feature is named once")
        return self


class InterveneConfig(Config):
    """Which causal effects are measured for a run. Headlines for the costly parts are drawn at random."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    max_headlines: int | None = Field(
        None, ge=1, description="headlines to read: those that are wrong, then those that are least sure; none: all"
    )
    steps: int = Field(8, ge=1, le=256, description="nodes of the integrated gradients' path")
    features_per_headline: int = Field(10, ge=1, le=100, description="features ablated and listed per headline")
    agreement_headlines: int = Field(300, ge=0, description="headlines on which estimates are held against ablation")
    curve_headlines: int = Field(200, ge=0, description="headlines of the deletion and insertion curves")
    flip_headlines: int = Field(100, ge=0, description="headlines to flip, and wrong ones to repair")
    word_headlines: int = Field(
        100, ge=0, description="headlines whose words are attributed: those that are wrong, then the least sure"
    )
    max_flip_features: int = Field(20, ge=1, le=64, description="features a flip may ablate")
    flip_level: float = Field(
        0.0, ge=-1e4, le=1e4, description="activation that flips set features to where they fire; 0 ablates them"
    )
    bootstrap: int = Field(1000, ge=100, le=10_000, description="resamples of the headlines for the intervals")
    ablate: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="features to ablate everywhere, for accuracy before and after"
    )
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")
    seed: int = 0


class FinishConfig(Config):
    """How an SAE is finished end to end; see sae/finish.py."""

    sae_size: str | None = Field(
        None, description='SAE_SIZE: the SAE to finish, "4k" becomes "4k-e2e"; none: the SAE that was trained last'
    )
    epochs: int = Field(1, ge=1, description="passes over the training headlines")
    learning_rate: float = Field(2e-5, gt=0)
    kl_weight: float = Field(3.0, ge=0, description="1/β: weight of the KL in nats against the FVU")
    tokens_per_batch: int = Field(2048, ge=128, description="token budget of a batch, padding included")
    seed: int = 0


class CompareConfig(Config):
    """What an SAE is compared with beyond its report: baselines, probes, and trainings from other seeds."""

    sae_size: str | None = Field(
        None, description="SAE_SIZE: the SAE that is held against controls; none: the one that was trained last"
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), description="trainings that differ by seed alone; at least two")
    probe_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 20), description="features per probe")

    @model_validator(mode="after")
    def _several_seeds(self) -> "CompareConfig":
        if len(set(self.seeds)) < 2:
            raise ValueError("stability needs at least two different seeds")
        return self


class LayersConfig(Config):
    """Several layers: which of them are extracted and trained on together, and which SAEs of theirs are compared."""

    layers: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(
        (), description='several layers: "2,4,6,8" or "all"; none: --layer alone, and for the verb layers all'
    )
    sae_size: str | None = Field(
        None, description='SAE_SIZE of the SAEs that are compared, such as "4k"; none: the size that most layers have'
    )

    @model_validator(mode="after")
    def _all_stands_alone(self) -> "LayersConfig":
        if "all" in self.layers and len(self.layers) > 1:
            raise ValueError('layers are numbers, such as 2,4,6, or the one word "all"')
        return self

    def numbers(self, n_layers: int) -> tuple[int, ...]:
        """The layers in ascending order, for a model of `n_layers`; none are all. Raises UserError for other layers."""
        if not self.layers or "all" in self.layers:
            return tuple(range(1, n_layers + 1))
        wanted = sorted({layer for layer in self.layers if layer != "all"})
        if missing := [str(layer) for layer in wanted if layer > n_layers]:
            what = f"Layer {missing[0]} does" if len(missing) == 1 else f"Layers {listed(missing, 'and')} do"
            raise UserError(f"{what} not exist: this model has layers 1 to {n_layers}; change --layers.")
        return tuple(wanted)


class FamilyConfig(Config):
    """Which run gets `family.json`, and by which seeds its features are judged stable."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    seeds: tuple[int, ...] = Field(
        (),
        description="seeds in which features are looked for: 0,1,2; those that are missing are trained; "
        "none: the trainings that there are",
    )


class MapConfig(Config):
    """Which run gets `map.json`."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    seed: int = Field(0, ge=0, lt=1 << 31, description="of the layout; the same seed makes the same map")


class PaperConfig(Config):
    """Which run a paper is written about, and what comes with it."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    out: str = Field("paper", description="folder that figures, tables, text and the archive are written into")
    headline: int | None = Field(
        None, ge=0, description="the headline to draw, 0-based; none: the wrong one that is surest"
    )
    features: int = Field(3, ge=1, le=20, description="features listed per class")
    weights: bool = Field(True, description="whether the archive holds the weights of the classifier and the SAEs")


class UnsealConfig(Config):
    """What is tested on the sealed headlines."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    features: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=1000, description="features of which it is claimed that they tell a class: 12,345"
    )
    looks: int | None = Field(
        None, ge=0, description="features that you have looked at before, as the viewer counts; it is recorded"
    )


class ContrastConfig(Config):
    """Which small changes of texts are tried on the classifier of a run."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    kinds: tuple[str, ...] = Field((), description='kinds of change: "company,retweet"; none: all')
    max_headlines: int = Field(300, ge=0, description="headlines of the run that are changed, drawn at random")
    templates: bool = Field(True, description="whether headlines made from templates are changed too")
    pairs: str | None = Field(None, description="table of your own pairs: before, after and expected")
    features: int = Field(5, ge=0, le=50, description="features listed per kind of change")
    keep: int = Field(20, ge=0, le=500, description="pairs kept per kind of change, those against expectation first")
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draw of headlines and of what replaces words")


class ExplainConfig(Config):
    """Which features of a run a language model explains, and where it answers."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    endpoint: str = Field(
        "", description="address of an OpenAI-compatible API: http://host:port/v1; none: OPENAI_BASE_URL"
    )
    model: str = Field("", max_length=200, description="the model's name, as the endpoint knows it")
    max_features: int = Field(
        50, ge=1, le=10_000, description="features to explain, those that tell classes apart first"
    )
    features: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=10_000, description="features to explain: 3,14,159; none: --max-features of them"
    )
    tests: int = Field(20, ge=6, le=100, description="headlines of a test, half of which the feature fires in")
    max_answer_tokens: int = Field(200, ge=16, le=8192, description="tokens that one answer may have")
    timeout: float = Field(60.0, gt=0, le=3600, description="seconds that one answer may take")
    price_in: float = Field(0.0, ge=0, description="price of a million tokens in questions, for the estimate")
    price_out: float = Field(0.0, ge=0, description="price of a million tokens in answers")
    tokens_per_batch: int = Field(4096, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draw of headlines")


SaeFormat = Literal["saelens", "dictionary-learning", "sparsify"]
RunFormat = Literal["neuronpedia", "parquet", "html", "site", "card"]
SAE_FORMATS, RUN_FORMATS = get_args(SaeFormat), get_args(RunFormat)


class ExportConfig(Config):
    """Which SAE or run is written for others, in which format, and where."""

    to: Literal[SaeFormat, RunFormat] = Field(
        "saelens", description=f"an SAE's format ({', '.join(SAE_FORMATS)}) or a run's ({', '.join(RUN_FORMATS)})"
    )
    out: str | None = Field(
        None,
        description="file or folder to write; none: finbert_sae/<format>/layer_<L>_<size> for an SAE, a name in the "
        "current folder for a run",
    )
    sae_size: str | None = Field(
        None, description='the SAE by its SAE_SIZE: "256", "4k", "4k-e2e"; none: the one that was trained last'
    )
    run: str | None = Field(None, description='the run by its number or name: "34", "run-034"; none: the latest')
    feature: int | None = Field(None, ge=0, description="the feature that a card is about")
    bench: bool = Field(False, description="site: whether classifier and SAE come along, so that the bench works")


Shared = Literal["all", "classifier", "sae", "run"]
_SHARED = "all, or only the classifier, the SAEs (sae) or the run"


class PushConfig(Config):
    """What is sent to the Hugging Face hub, and to which repository."""

    to: str = Field("", description="repository on the hub, USER/NAME; it is made where there is none")
    what: Shared = Field("all", description=_SHARED)
    sae_size: str | None = Field(None, description="the SAE by its SAE_SIZE; none: all of the layer")
    run: str | None = Field(None, description='the run by its number or name: "34", "run-034"; none: the latest')
    private: bool = Field(True, description="whether a repository that is made is private")
    license: str = Field(
        "unknown", pattern=r"^[a-z0-9][a-z0-9.-]*$", description='license on the card: "mit", "cc-by-4.0"'
    )


class PullConfig(Config):
    """What is fetched from a repository on the Hugging Face hub."""

    repository: str = Field("", description="repository on the hub, USER/NAME")
    what: Shared = Field("all", description=_SHARED)
    revision: str | None = Field(None, description="branch, tag or commit; none: the newest")


class TrackConfig(Config):
    """Where the figures of a training are reported while it runs."""

    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field(
        "none", description="tracker of the training's figures: none, tensorboard, trackio or wandb"
    )
    report_project: str = Field(
        "finbert-sae", pattern=r"^\w[\w.-]*$", description="name that the tracker groups runs by"
    )
    report_folder: str | None = Field(None, description="folder of the tracker's files; none: tracking/ in the root")


class ImportConfig(Config):
    """An SAE that another library wrote."""

    place: str = Field("", description="folder of the SAE, or its file of weights")
    from_: SaeFormat | None = Field(None, description=f"{', '.join(SAE_FORMATS)}; none: told from the files")


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
