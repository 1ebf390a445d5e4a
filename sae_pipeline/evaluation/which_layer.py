"""Which layer an SAE should read, in sentences that name the figures behind them."""

from collections.abc import Iterator, Sequence

from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.layers import LayerFigures, Measured


def which_layer(layers: Sequence[LayerFigures]) -> Iterator[str]:
    """Say where the decision is, what a probe reads, and how well the SAEs do. `layers` are ascending."""
    words = [one for one in layers if _is_above(one.changed_words, one.changed_cls)]
    cls = [one for one in layers if _is_above(one.changed_cls, one.changed_words)]
    if words:
        last = words[-1]
        yield (
            f"The decision is in the words at {_named(words)}: without the words of layer {last.layer} "
            f"{_percent(last.changed_words)} of predictions change, without its [CLS] {_percent(last.changed_cls)}. "
            f"So an SAE of words has something to explain there; layer {last.layer} is the deepest of them."
        )
    if cls:
        first = cls[0]
        yield (
            f"It is in [CLS] at {_named(cls)}: without the [CLS] of layer {first.layer} {_percent(first.changed_cls)} "
            f"of predictions change, without its words {_percent(first.changed_words)}. Read these layers at [CLS] "
            "(`--positions cls`)."
        )
    if between := [one for one in layers if one not in words and one not in cls]:
        yield f"Words and [CLS] cannot be told apart at {_named(between)}: the intervals overlap."
    best = max(layers, key=lambda one: one.probe_words.value)
    alike = next(one for one in layers if not _is_above(best.probe_words, one.probe_words))
    earliest = "" if alike is best else f", and no earlier one is as good by its interval before layer {alike.layer}"
    yield f"A probe on the mean over words is best at layer {best.layer} ({_percent(best.probe_words)}){earliest}."
    judged = [(one.layer, one.sae) for one in words if one.sae and one.sae.positions != "cls"]
    if len(judged) > 1:
        layer, sae = max(judged, key=lambda pair: pair[1].unchanged.value)
        yield (
            f"Of the layers whose words decide, the {sae.size} SAE of layer {layer} keeps the most predictions: "
            f"{_percent(sae.unchanged)} stay the same, at L0 {sae.l0.value:.0f} and FVU {sae.fvu.value:.3f}."
        )


def _is_above(one: Measured, other: Measured) -> bool:
    """Whether a figure lies above another, intervals included."""
    low = one.value if one.low is None else one.low
    return low > (other.value if other.high is None else other.high)


def _named(layers: Sequence[LayerFigures]) -> str:
    return f"{'layer' if len(layers) == 1 else 'layers'} {listed([one.layer for one in layers], 'and')}"


def _percent(share: Measured) -> str:
    return f"{100 * share.value:.1f} %"
