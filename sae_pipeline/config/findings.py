"""Settings of the verbs that examine SAEs and runs.

These are analysis, scores, causes, comparisons, maps, changes of texts, explanations and final tests.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sae_pipeline.config.base import TOKENS_PER_BATCH, Config
from sae_pipeline.schema.labels import SET_NAME_LENGTH


class AnalyzeConfig(Config):
    """How much of the test split is read, and what a run keeps of it."""

    sae_size: str | None = Field(None, description='SAE_SIZE: "256", "4k", "32k"; none: the SAE that was trained last')
    max_samples: int | None = Field(None, ge=1, description="MAX_SAMPLES: test headlines to read; none: all")
    top_features: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        100, description='TOP_FEATURES: features per metric with saved examples; "all": every feature that fires'
    )
    top_tokens_per_feature: int = Field(20, ge=1, description="TOP_TOKENS_PER_FEATURE: examples per feature")
    top_features_per_headline: int = Field(10, ge=1, description="features kept per headline")
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")


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
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
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
    agreement_headlines: int = Field(300, ge=0, description="headlines on which estimates are compared with ablation")
    curve_headlines: int = Field(200, ge=0, description="headlines of the deletion and insertion curves")
    flip_headlines: int = Field(100, ge=0, description="headlines to flip, and wrong ones to repair")
    word_headlines: int = Field(
        100, ge=0, description="headlines whose words are attributed: those that are wrong, then the least sure"
    )
    interaction_headlines: int = Field(
        100, ge=0, description="headlines whose pairs of features may be ablated: wrong ones, then the least sure"
    )
    interaction_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="share of the joint effect by which single effects must miss it for pairs to be ablated",
    )
    max_flip_features: int = Field(20, ge=1, le=64, description="features a flip may ablate")
    flip_level: float = Field(
        0.0, ge=-1e4, le=1e4, description="activation that flips set features to where they fire; 0 ablates them"
    )
    bootstrap: int = Field(1000, ge=100, le=10_000, description="resamples of the headlines for the intervals")
    ablate: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="features to ablate everywhere, for accuracy before and after"
    )
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = 0


class CompareConfig(Config):
    """What an SAE is compared with beyond its report: baselines, probes, and trainings from other seeds."""

    sae_size: str | None = Field(
        None, description="SAE_SIZE: the SAE to compare with baselines; none: the one that was trained last"
    )
    seeds: tuple[int, ...] = Field(
        (0, 1, 2), description="seeds of trainings that differ only by their seed; at least two"
    )
    probe_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 20), description="features per probe")

    @model_validator(mode="after")
    def _several_seeds(self) -> "CompareConfig":
        if len(set(self.seeds)) < 2:
            raise ValueError("stability needs at least two different seeds")
        return self


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


class ContrastConfig(Config):
    """Which small changes of texts are tried on the classifier of a run."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    kinds: tuple[str, ...] = Field((), description='kinds of change: "company,retweet"; none: all')
    max_headlines: int = Field(300, ge=0, description="headlines of the run that are changed, drawn at random")
    templates: bool = Field(True, description="whether headlines made from templates are changed too")
    pairs: str | None = Field(None, description="table of your own pairs: before, after and expected")
    features: int = Field(5, ge=0, le=50, description="features listed per kind of change")
    keep: int = Field(20, ge=0, le=500, description="pairs kept per kind of change, those against expectation first")
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draw of headlines and of what replaces words")


_EDIT = r"^[0-9]{1,9}:[0-9]{1,4}(\.[0-9]{1,6})?$"


class MendConfig(Config):
    """How edits of features are found that mend wrong predictions."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    max_edits: int = Field(8, ge=1, le=64, description="features that are edited at most")
    edits: tuple[Annotated[str, Field(pattern=_EDIT)], ...] = Field(
        (), max_length=64, description='edits to test: "12:0,345:2" ablates 12 and doubles 345; none: they are searched'
    )
    set: str | None = Field(
        None, max_length=SET_NAME_LENGTH, description="name of a set of features to ablate and test; none: see --edits"
    )
    random_sets: int = Field(20, ge=20, le=10_000, description="sets of random features that are tried beside them")
    max_headlines: int = Field(4000, ge=30, description="headlines that are searched on, and that test, at most")
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draws of headlines and of random sets")

    @model_validator(mode="after")
    def _features_differ(self) -> "MendConfig":
        if len({edit.split(":")[0] for edit in self.edits}) < len(self.edits):
            raise ValueError("each feature is edited once")
        return self

    @model_validator(mode="after")
    def _set_or_edits(self) -> "MendConfig":
        if self.edits and self.set is not None:
            raise ValueError("give either edits or a set of features, not both")
        return self


class CalibrateConfig(Config):
    """How the probabilities of a run are calibrated, and when the classifier should abstain."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    max_headlines: int = Field(4000, ge=30, description="headlines that fit, and that test, at most")
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draws of headlines and of folds")


class DiffConfig(Config):
    """What a run's classifier is compared with, and how."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    before: str | None = Field(
        None,
        description="a folder, an id on the hub, or the hash of a classifier of the study; none: the model that the "
        "run's classifier was fine-tuned from",
    )
    control_seed: int | None = Field(
        None, description="seed of a second fine-tuning, the control; it is made where it is missing"
    )
    d_sae: int | None = Field(None, ge=2, description="features of the crosscoder; none: as many as suit the vectors")
    k: int | None = Field(
        None, ge=1, description="active features per vector, on average; none: 64, of few features fewer"
    )
    max_vectors: int = Field(
        300_000, ge=512, description="activations of each model that the crosscoder trains on, at most"
    )
    max_headlines: int = Field(4000, ge=30, description="headlines of the run that are read, at most")
    features: int = Field(50, ge=1, le=1000, description="features of each kind of change that are listed")
    examples: int = Field(5, ge=1, le=50, description="headlines shown of each")
    set_headlines: int = Field(1000, ge=30, description="headlines in which sets of features are ablated, at most")
    random_sets: int = Field(20, ge=1, le=1000, description="sets of random features that are ablated beside them")
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the crosscoder, and of the draws of headlines and of random sets")

    @model_validator(mode="after")
    def _k_fits(self) -> "DiffConfig":
        if self.k and self.d_sae and self.k > self.d_sae:
            raise ValueError(f"{self.k} active features per vector are more than the {self.d_sae} there are")
        return self


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
    tokens_per_batch: int = Field(TOKENS_PER_BATCH, ge=128, description="token budget of a batch, padding included")
    seed: int = Field(0, ge=0, description="of the draw of headlines")


class UnsealConfig(Config):
    """What is tested on the sealed headlines."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    features: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=1000, description="features that you claim to indicate a class: 12,345"
    )
    looks: int | None = Field(
        None, ge=0, description="how many features you have looked at before; the viewer counts them"
    )
