"""Which layer an SAE should read, in sentences that name the figures behind them."""

from collections.abc import Iterator, Sequence

from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.layers import LayerFigures, Measured


def which_layer(layers: Sequence[LayerFigures]) -> Iterator[str]:
    """Say where the decision is, what a probe finds, and how well the SAEs do. `layers` are ascending."""
    words = [one for one in layers if _is_above(one.changed_words, one.changed_cls)]
    cls = [one for one in layers if _is_above(one.changed_cls, one.changed_words)]
    if words:
        last = words[-1]
        yield (
            f"The decision is in the words at {_named(words)}: replacing the words of layer {last.layer} by their mean "
            f"changes {_percent(last.changed_words)} of predictions, and replacing its [CLS] changes "
            f"{_percent(last.changed_cls)}. At these layers an SAE should read the words; layer {last.layer} is the "
            "deepest of them."
        )
    if cls:
        first = cls[0]
        yield (
            f"The decision is in [CLS] at {_named(cls)}: replacing the [CLS] of layer {first.layer} by its mean "
            f"changes {_percent(first.changed_cls)} of predictions, and replacing its words changes "
            f"{_percent(first.changed_words)}. At such layers an SAE should read [CLS] (`--positions cls`)."
        )
    if between := [one for one in layers if one not in words and one not in cls]:
        yield f"At {_named(between)}, words and [CLS] change about as many predictions: the intervals overlap."
    best = max(layers, key=lambda one: one.probe_words.value)
    alike = next(one for one in layers if not _is_above(best.probe_words, one.probe_words))
    overlap = "" if alike is best else f"; layer {alike.layer} is the first whose interval overlaps with this one"
    yield f"A probe on the mean over words is best at layer {best.layer} ({_percent(best.probe_words)}){overlap}."
    judged = [(one.layer, one.sae) for one in words if one.sae and one.sae.positions != "cls"]
    if len(judged) > 1:
        layer, sae = max(judged, key=lambda pair: pair[1].unchanged.value)
        yield (
            f"Where the decision is in the words, the {sae.size} SAE of layer {layer} keeps the most predictions: "
            f"{_percent(sae.unchanged)} stay the same, at L0 {sae.l0.value:.0f} and FVU {sae.fvu.value:.3f}."
        )


def _is_above(one: Measured, other: Measured) -> bool:
    """Whether a figure lies above another, intervals included."""
    return one.ends[0] > other.ends[1]


def _named(layers: Sequence[LayerFigures]) -> str:
    return f"{'layer' if len(layers) == 1 else 'layers'} {listed([one.layer for one in layers], 'and')}"


def _percent(share: Measured) -> str:
    return f"{100 * share.value:.1f} %"
