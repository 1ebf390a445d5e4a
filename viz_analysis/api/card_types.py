"""The card of a feature: what can be claimed of it, as sections that every renderer shows alike."""

from pydantic import Field, NonNegativeInt

from sae_pipeline.schema.common import Record, Share


class CardTable(Record):
    """A table of text."""

    header: list[str]
    rows: list[list[str]]


class CardStretch(Record):
    """A part of a headline, in code points, half open, on which the feature fires."""

    start: NonNegativeInt
    end: NonNegativeInt
    strength: Share = Field(description="activation, divided by the highest one in the headline")
    note: str


class CardExample(Record):
    """A headline, and what is said of it."""

    text: str
    stretches: list[CardStretch]
    note: str


class CardSection(Record):
    """A part of a card."""

    title: str
    sentences: list[str]
    table: CardTable | None
    examples: list[CardExample]


class CardContent(Record):
    """What a card says."""

    run_id: str
    feature: NonNegativeInt
    title: str
    summary: str = Field(description="what is claimed, in one or two sentences")
    sections: list[CardSection]


class FeatureCard(CardContent):
    """A feature's card, and the files that it can be saved as."""

    html: str = Field(description="a whole page without scripts")
    latex: str = Field(description="a whole document for pdfLaTeX")
