"""The figures of a paper as vector PDFs, one column wide.

Fonts are embedded as TrueType. No figure needs colour: series differ by marker, line and lightness.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sae_pipeline.paper.numbers import auroc_columns, leading
from sae_pipeline.paper.sources import Sources
from sae_pipeline.paper.tables import feature_name
from sae_pipeline.schema.paper import Number

COLUMN = 3.25  # inches, one column of most conferences
_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType: Type 3 fonts are refused by many conferences
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a headline may hold $ signs
}
_INK, _DARK, _MIDDLE, _LIGHT = "black", "#404040", "#808080", "#bdbdbd"
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")
_GREYS = (_INK, _DARK, _MIDDLE, "#a0a0a0")
_FEATURES = 6  # of a drawn headline
_ROWS = 40  # headlines have at most so many lines of words

Numbers = Mapping[str, Number]


def plots_of(sources: Sources, numbers: Numbers, n_features: int, headline: int) -> Iterator[tuple[str, bytes, str]]:
    """The name of each figure's file, its PDF, and its caption as plain text."""
    drawn: dict[str, tuple[Figure | None, str]] = {}
    with mpl.rc_context(_STYLE):
        drawn["sizes"] = _sizes(sources, numbers)
        drawn["spliced"] = _spliced(sources, numbers)
        drawn["density"] = _density(sources)
        drawn["features"] = _features(sources, numbers, n_features)
        drawn["baselines"] = _baselines(sources, numbers)
        drawn["layers"] = _layers(sources, numbers)
        drawn["agreement"] = _agreement(sources)
        drawn["headline"] = _headline(sources, headline)
        for name, (figure, caption) in drawn.items():
            if figure is not None:
                yield f"figure-{name}.pdf", _pdf(figure), caption


def _pdf(figure: Figure) -> bytes:
    """A figure as PDF, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Creator": "FinBERT SAE Explorer"})
    return buffer.getvalue()


def _axes(height: float, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(COLUMN, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def drawable(text: str) -> str:
    """A text without letters that the font lacks; they become their code point: U+1F680."""
    known = _letters()
    return "".join(char if ord(char) in known else f"U+{ord(char):04X}" for char in " ".join(text.split()))


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def _short(text: str, most: int) -> str:
    text = drawable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}"


def _percent(share: float, _: object = None) -> str:
    return f"{100 * share:.6g}"


def _arms(*numbers: Number) -> list[list[float]]:
    """The parts of intervals below and above their numbers; 0 where there is no interval."""
    below = [max(one.value - (one.value if one.low is None else one.low), 0.0) for one in numbers]
    above = [max((one.value if one.high is None else one.high) - one.value, 0.0) for one in numbers]
    return [below, above]


# --- SAEs ----------------------------------------------------------------------------------------------


def _sizes(sources: Sources, numbers: Numbers) -> tuple[Figure, str]:
    figure, axes = _axes(2.3)
    for mark, (size, records) in zip(_MARKS * len(sources.saes), sources.seeds.items(), strict=False):
        for n, record in enumerate(records):
            r = record.report
            axes.plot([r.train.l0, r.held_out.l0], [r.train.fvu, r.held_out.fvu], color=_LIGHT, lw=0.7, zorder=1)
            axes.plot(r.train.l0, r.train.fvu, mark, mfc="white", mec=_INK, mew=0.7)
            label = _short(size, 18) if n == 0 else None
            axes.plot(r.held_out.l0, r.held_out.fvu, mark, mfc=_INK, mec=_INK, mew=0.7, label=label)
    axes.set(xlabel="L0 (active features per token)", ylabel="FVU")
    axes.margins(0.12)
    axes.legend(ncols=2, handletextpad=0.2)
    return figure, (
        "Sparsity and unexplained variance of each SAE. Open marks: train; filled: held-out. Marks of one shape differ "
        "by their seed."
    )


def _spliced(sources: Sources, numbers: Numbers) -> tuple[Figure, str]:
    figure, axes = _axes(0.7 + 0.22 * len(sources.saes))
    for row, size in enumerate(sources.saes):
        number = numbers[f"sae/{size}/unchanged"]
        axes.errorbar(number.value, row, xerr=_arms(number), fmt="o", color=_INK, capsize=2, lw=0.8)
    axes.set_yticks(range(len(sources.saes)), [_short(size, 18) for size in sources.saes])
    axes.set(xlabel="predictions unchanged (%)", ylim=(len(sources.saes) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color=_LIGHT, lw=0.4)
    return figure, (
        "Share of test predictions that stay the same when each SAE's reconstruction replaces the activations, with "
        "Wilson 95 % intervals over headlines."
    )


def _density(sources: Sources) -> tuple[Figure, str]:
    figure, axes = _axes(2.0)
    for n, (size, record) in enumerate(sources.saes.items()):
        found = record.report.held_out
        edges = [10**edge for edge in found.density_edges]
        share = [count / record.config.d_sae for count in found.density]
        line, grey = _LINES[n % len(_LINES)], _GREYS[n % len(_GREYS)]
        axes.stairs(share, edges, color=grey, ls=line, lw=1.1, label=_short(size, 18))
    axes.set(xscale="log", xlabel="tokens on which a feature fires (%)", ylabel="features (%)")
    axes.set_xlim(1e-5, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(_percent))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend()
    return figure, "Feature density on held-out tokens. Features that never fire there are left out."


def _baselines(sources: Sources, numbers: Numbers) -> tuple[Figure | None, str]:
    file = sources.shown_controls
    if file is None:
        return None, ""
    figure, axes = _axes(2.8)
    for n, control in enumerate(file.controls):
        probes = [probe for probe in control.probing if probe.k]
        whole = [probe for probe in control.probing if not probe.k]
        mark, line = _MARKS[n % len(_MARKS)], _LINES[n % len(_LINES)]
        look = {"color": _INK if n == 0 else _GREYS[1 + n % 3], "lw": 1.4 if n == 0 else 0.8}
        name = _short(control.name, 24)
        if probes:
            ks, scores = [probe.k for probe in probes], [probe.auroc for probe in probes]
            axes.plot(ks, scores, mark + line, label=name, mfc="white" if n else _INK, mew=0.7, **look)
        elif whole:
            axes.axhline(whole[0].auroc, ls=line, label=f"{name} (all units)", **look)
    axes.set(xscale="log", xlabel="units per class (k)", ylabel="AUROC of the labels")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(sorted({probe.k for control in file.controls for probe in control.probing if probe.k}))
    _legend_above(figure)
    return figure, "Probes of the labels from the k best units of each class, on held-out headlines."


def _layers(sources: Sources, numbers: Numbers) -> tuple[Figure | None, str]:
    if sources.layers is None:
        return None, ""
    figure, axes = _axes(2.5)
    shown = {
        "dense probe, words": "probe_words",
        "dense probe, [CLS]": "probe_cls",
        "changed, words ablated": "changed_words",
        "changed, [CLS] ablated": "changed_cls",
        "FVU of the SAE": "fvu",
    }
    for n, (label, what) in enumerate(shown.items()):
        names = {one.layer: f"layers/{one.layer}/{what}" for one in sources.layers.layers}
        found = {layer: numbers[name] for layer, name in names.items() if name in numbers}
        if found:
            look: dict[str, Any] = {"color": _GREYS[n % 3], "ls": _LINES[n % len(_LINES)], "marker": _MARKS[n]}
            values = [one.value for one in found.values()]
            arms = _arms(*found.values())
            axes.errorbar(list(found), values, arms, label=label, mfc="white", mew=0.7, lw=0.8, **look)
    axes.set(xlabel="layer", ylabel="share", ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_above(figure)
    return figure, (
        "What each layer holds of the decision: accuracy of dense probes, and share of predictions changed by mean "
        "ablation. FVU is that of the layer's SAE. Bars are 95 % intervals."
    )


def _legend_above(figure: Figure) -> None:
    """Put the names of many lines above the axes, where they hide none of them."""
    figure.legend(loc="outside upper center", ncols=2, fontsize=5.5)


# --- features ------------------------------------------------------------------------------------------


def _features(sources: Sources, numbers: Numbers, n_features: int) -> tuple[Figure | None, str]:
    rows = [
        (place, feature)
        for place, column in enumerate(auroc_columns(sources))
        for feature in leading(column, n_features)
    ][:40]
    if not rows:
        return None, ""
    figure, axes = _axes(0.55 + 0.17 * len(rows))
    names = []
    for row, (place, feature) in enumerate(rows):
        at = f"feature/{place}/{feature}"
        chosen, tested = numbers[f"{at}/chosen"], numbers.get(f"{at}/tested")
        told = ("half that chose", "half that tests") if row == 0 else (None, None)
        axes.plot(chosen.value, row, "o", mfc="white", mec=_MIDDLE, mew=0.7, label=told[0])
        if tested is not None:
            look: dict[str, Any] = {"fmt": "s", "ms": 3, "color": _INK, "capsize": 1.5, "lw": 0.8}
            axes.errorbar(tested.value, row, xerr=_arms(tested), label=told[1], **look)
        label = _short(sources.run.metadata.labels[place], 10)
        names.append(f"{label} {feature}: {_short(feature_name(sources, feature), 18)}")
    axes.axvline(0.5, color=_LIGHT, lw=0.6)
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel="AUROC of the class", ylim=(len(rows) - 0.4, -0.6))
    axes.legend(fontsize=5.5)
    return figure, (
        "Features that lead each class. Open circles: AUROC on the half of the headlines that chose them; squares: on "
        "the other half, with 95 % bootstrap intervals."
    )


def _agreement(sources: Sources) -> tuple[Figure | None, str]:
    file = sources.interventions
    found = [one for one in file.agreement if one.estimate == "integrated"] if file else []
    if not found:
        return None, ""
    one = found[0]
    figure, axes = _axes(2.3)
    reach = max(map(abs, [*one.estimates, *one.truths]), default=1.0) * 1.05
    axes.plot([-reach, reach], [-reach, reach], color=_LIGHT, lw=0.7)
    axes.plot(one.estimates, one.truths, ".", ms=2, color=_INK, alpha=0.5, mew=0)
    axes.set(xlabel="estimated effect (logits)", ylabel="effect of true ablation (logits)")
    return figure, (
        f"Estimated effects of features on the predicted class against true ablation: r = {one.pearson:.3f}, "
        f"ρ = {one.spearman:.3f} over {one.n_pairs:,} pairs of headline and feature."
    )


# --- a headline ----------------------------------------------------------------------------------------


def chosen_headline(sources: Sources) -> int:
    """The wrong prediction of which the classifier is surest, or the surest one where none is wrong."""
    prompts = sources.run.prompts
    fired = sources.run.headline_features.headlines
    able = [n for n, record in enumerate(fired) if record.features and len(prompts[n].text) <= 160] or [0]
    wrong = [n for n in able if prompts[n].prediction != prompts[n].label] or able
    return max(wrong, key=lambda n: prompts[n].probabilities[prompts[n].prediction])


def _headline(sources: Sources, headline: int) -> tuple[Figure, str]:
    run = sources.run
    prompt, fired = run.prompts[headline], run.headline_features.headlines[headline].features
    bars, axis = _bars(sources, headline)
    words = _words(sources, headline)
    figure = Figure(figsize=(COLUMN, 2.0))
    lines = _wrapped(figure, [word for word, _ in words])
    text, below = 0.19 * len(lines) + 0.06, 0.17 * len(bars) + 0.42
    figure.set_size_inches(COLUMN, text + below)
    _draw_words(figure, lines, [heat for _, heat in words], text / (text + below))
    axes = figure.add_axes((0.52, 0.36 / (text + below), 0.45, 0.17 * len(bars) / (text + below)))
    values = [value for _, value in bars]
    axes.barh(range(len(bars)), values, color=_MIDDLE, edgecolor=_INK, lw=0.5, height=0.65)
    axes.set_yticks(range(len(bars)), [_short(name, 30) for name, _ in bars])
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    axes.axvline(0, color=_INK, lw=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    said = f"predicted {run.metadata.labels[prompt.prediction]} ({100 * prompt.probabilities[prompt.prediction]:.0f} %)"
    if run.metadata.labelled:
        said += f", label {run.metadata.labels[prompt.label]}"
    n = len(fired)
    return figure, (
        f"Headline {headline} of {run.metadata.run_id}, {said}. The darker a word, the larger the strongest activation "
        f"on it among the {n} features listed for the headline. Bars: {axis}."
    )


def _bars(sources: Sources, headline: int) -> tuple[list[tuple[str, float]], str]:
    """The features with the largest effect on the prediction, or the strongest ones where effects were not measured."""
    run = sources.run
    effects = next(
        (one for one in (sources.interventions.headlines if sources.interventions else ()) if one.headline == headline),
        None,
    )
    if effects is not None and effects.features:
        predicted = run.prompts[headline].prediction
        found = [(one.feature, one.effects[predicted]) for one in effects.features]
        axis = f"effect on {_short(run.metadata.labels[predicted], 16)} (logits)"
    else:
        found = [(one.feature, one.activation) for one in run.headline_features.headlines[headline].features]
        axis = "activation f"
    named = [(f"{feature}: {feature_name(sources, feature)}", value) for feature, value in found[:_FEATURES]]
    return named, axis


def _words(sources: Sources, headline: int) -> list[tuple[str, float]]:
    """The words of a headline as written, each with its heat between 0 and 1."""
    prompt = sources.run.prompts[headline]
    fired = sources.run.headline_features.headlines[headline].features
    heat = np.zeros(max(prompt.words, default=-1) + 1)
    for feature in fired:
        for position, value in zip(feature.positions, feature.values, strict=True):
            if prompt.words[position] >= 0:
                heat[prompt.words[position]] = max(heat[prompt.words[position]], value)
    spans: dict[int, tuple[int, int]] = {}
    for word, start, end in zip(prompt.words, prompt.starts, prompt.ends, strict=True):
        if word >= 0:
            first, last = spans.get(word, (start, end))
            spans[word] = min(first, start), max(last, end)
    most = heat.max(initial=0.0) or 1.0
    return [(drawable(prompt.text[a:b]), float(heat[word] / most)) for word, (a, b) in sorted(spans.items())]


def _wrapped(figure: Figure, words: Sequence[str]) -> list[list[tuple[str, float, float]]]:
    """The words in lines, each with its left edge and its width in inches. A word that is too long is cut."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    font = FontProperties(family="DejaVu Sans", size=8)
    lines: list[list[tuple[str, float, float]]] = [[]]
    at, gap, room = 0.0, 0.06, COLUMN - 0.1
    for word in words:
        width = _width(renderer, word, font, figure.dpi)
        while width > room and len(word) > 1:
            word = word[: int(len(word) * room / width) - 2] + "…"
            width = _width(renderer, word, font, figure.dpi)
        if at + width > room:
            lines.append([])
            at = 0.0
        lines[-1].append((word, at, width))
        at += width + gap
    return lines[:_ROWS]


def _width(renderer: Any, word: str, font: FontProperties, dpi: float) -> float:
    width, _, _ = renderer.get_text_width_height_descent(word, font, ismath=False)
    return float(width / dpi)


def _draw_words(
    figure: Figure, lines: Sequence[Sequence[tuple[str, float, float]]], heat: Sequence[float], share: float
) -> None:
    """Draw the words on the upper part of a figure, on a ground that is darker where the heat is larger."""
    axes = figure.add_axes((0.05 / COLUMN, 1 - share, 1 - 0.1 / COLUMN, share))
    axes.set(xlim=(0, COLUMN - 0.1), ylim=(0.19 * len(lines) + 0.06, 0))
    axes.axis("off")
    n = 0
    for row, line in enumerate(lines):
        for word, at, width in line:
            grey = 1 - 0.5 * heat[n]  # black letters stay readable on the darkest ground
            y = 0.19 * row + 0.03
            axes.add_patch(Rectangle((at - 0.015, y), width + 0.03, 0.165, color=(grey, grey, grey), lw=0))
            axes.text(at, y + 0.125, word, fontsize=8, color=_INK, va="baseline", ha="left")
            n += 1
