"""Settings for what leaves a study or comes into it: other formats, repositories, papers, trackers."""

from typing import Literal, get_args

from pydantic import Field

from sae_pipeline.config.base import Config

SaeFormat = Literal["saelens", "dictionary-learning", "sparsify"]
RunFormat = Literal["neuronpedia", "parquet", "html", "site", "card", "classifier"]
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


class ImportConfig(Config):
    """An SAE that another library wrote."""

    place: str = Field("", description="folder of the SAE, or its file of weights")
    from_: SaeFormat | None = Field(None, description=f"{', '.join(SAE_FORMATS)}; none: told from the files")


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


class PaperConfig(Config):
    """Which run a paper is written about, and what comes with it."""

    run: str | None = Field(None, description='"34", "run-034" or a folder name; none: the latest run')
    out: str = Field("paper", description="folder that figures, tables, text and the archive are written into")
    headline: int | None = Field(
        None, ge=0, description="the headline to draw, 0-based; none: the wrong one that is surest"
    )
    features: int = Field(3, ge=1, le=20, description="features listed per class")
    weights: bool = Field(True, description="whether the archive holds the weights of the classifier and the SAEs")


class TrackConfig(Config):
    """Where the figures of a training are reported while it runs."""

    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field(
        "none", description="tracker of the training's figures: none, tensorboard, trackio or wandb"
    )
    report_project: str = Field(
        "finbert-sae", pattern=r"^\w[\w.-]*$", description="name that the tracker groups runs by"
    )
    report_folder: str | None = Field(None, description="folder of the tracker's files; none: tracking/ in the root")
