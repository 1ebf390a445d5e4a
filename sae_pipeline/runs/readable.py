"""A headline and a feature with all that is known of them, which notebooks show as HTML."""

from dataclasses import dataclass

from sae_pipeline.schema.run import Example, FeatureExamples, FiredFeature, Firing, MetricInfo, Prompt
from sae_pipeline.static_html import Html, Stretch, block, heat, number, paragraph, percent, table

_ROWS = 10  # features of a headline, words and examples of a feature


@dataclass(frozen=True)
class ReadHeadline:
    """A headline as classifier and SAE read it, with its strongest features, strongest first.

    `is_labelled` says whether the prompt's label is one that was given. `lit` is the feature whose activations the
    HTML shows as heat; None where no feature fires.
    """

    title: str
    labels: list[str]
    is_labelled: bool
    prompt: Prompt
    features: list[FiredFeature]
    lit: FiredFeature | None

    def _repr_html_(self) -> str:
        prompt = self.prompt
        classes = ", ".join(
            f"{label} {percent(share)}" for label, share in zip(self.labels, prompt.probabilities, strict=True)
        )
        said = f"Predicted {self.labels[prompt.prediction]} ({classes})."
        if self.is_labelled:
            said += f" The label is {self.labels[prompt.label]}."
        parts = [f'<p style="font-size: 1.2em; margin: 0.2em 0">{_lit(prompt, self.lit)}</p>', paragraph(said)]
        if self.lit:
            most = number(self.lit.activation)
            has_words = bool(self.lit.token)
            heat_of = f"Heat: activation of feature {self.lit.feature}, up to {most}."
            parts.append(paragraph(heat_of if has_words else "Features fire on the headline as a whole."))
            rows = [
                (str(one.feature), *([one.word] if has_words else []), one.activation) for one in self.features[:_ROWS]
            ]
            words = ["strongest word"] if has_words else []
            parts.append(table(["feature", *words, "activation f"], rows))
        return block(self.title, *parts)


@dataclass(frozen=True)
class RunFeature:
    """A feature of a run: its statistics, and its saved examples with their headlines.

    `metrics` holds a value per metric. `saved` is None for a feature without saved examples.
    """

    run_id: str
    feature: int
    n_headlines: int
    density: float
    metrics: list[tuple[MetricInfo, float]]
    saved: FeatureExamples | None
    examples: list[tuple[Example, Prompt]]

    def _repr_html_(self) -> str:
        whole = self.saved is not None and not self.saved.examples[0].token
        share = f"{percent(self.density)} of the {'headlines' if whole else 'tokens'}"
        fires = f"It fires in {self.n_headlines:,} headlines, on {share}."
        parts = [paragraph(fires), table(["metric", "value"], [(info.label, value) for info, value in self.metrics])]
        if self.saved is None:
            parts.append(paragraph("The run has no saved examples of this feature."))
        else:
            if not whole:
                words = [(one.word, one.count, one.total, one.lift) for one in self.saved.words[:_ROWS]]
                parts.append(table(["word", "fires", "occurs", "lift"], words))
            rows = [(one.activation, _lit(prompt, one)) for one, prompt in self.examples[:_ROWS]]
            parts.append(table(["activation f", "strongest headlines"], rows))
        return block(f"{self.run_id}, feature {self.feature}", *parts)


def _lit(prompt: Prompt, firing: Firing | None) -> Html:
    """The headline, darker where a feature fires more strongly."""
    if firing is None or not firing.token:
        return heat(prompt.text, [])
    highest = max(firing.values, default=0.0) or 1.0
    return heat(
        prompt.text,
        [
            Stretch(prompt.starts[at], prompt.ends[at], value / highest, f"activation {number(value)}")
            for at, value in zip(firing.positions, firing.values, strict=True)
        ],
    )
