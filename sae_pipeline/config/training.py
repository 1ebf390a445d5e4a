"""Settings of the stages from headlines to SAEs: cleaning, the classifier, activations, training, finishing."""

from itertools import product
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from sae_pipeline.config.base import TOKENS_PER_BATCH, Config, Precision
from sae_pipeline.errors import UserError
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.kinds import KINDS, Kind, KindRecord, listed

DEFAULT_K = 64  # active features per token
DEFAULT_DATA = "zeroshot/twitter-financial-news-sentiment"


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
    freeze: int = Field(
        0,
        ge=0,
        exclude_if=lambda n: n == 0,  # records and hashes are those of older studies
        description="lower layers that stay as they are; what they compute is kept over the epochs",
    )
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
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    precision: Precision = Field("auto", description="auto: bf16 where the chip has it")
    extra_text: str | None = Field(
        None, description='table whose text the SAEs also train on, without labels; or "sample" (see docs/data.md)'
    )


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
