"""The plots of the notebook and of the training report: one function per question, artefact in, figure out.

Each figure has a sentence below it (its `supxlabel`) that says how to read it.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.causes import InterventionsFile
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.layers import LayersFile, Measured
from sae_pipeline.schema.reports import ClassifierReport
from sae_pipeline.schema.run import FiredFeature, Prompt
from sae_pipeline.study.layout import SaeRecord

_INK, _MUTED, _ACCENT = "#1d2433", "#8a93a6", "#2f6fb2"
_SIZES = ("#9ecae9", "#5ba3d0", "#2f6fb2", "#123e6d")


def _axes(title: str, width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _say_how_to_read(figure: Figure, sentence: str) -> None:
    """Put a sentence below a figure, in lines of its width."""
    text = textwrap.fill(sentence, int(14 * figure.get_figwidth()))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=9, color=_MUTED)


def fine_tuning(record: ClassifierRecord) -> Figure:
    """Train loss and dev scores of the classifier after each epoch."""
    figure, axes = _axes("Fine-tuning: scores on dev and loss on train")
    epochs = [e.epoch for e in record.history]
    axes.plot(epochs, [e.dev_accuracy for e in record.history], "o-", color=_ACCENT, label="dev accuracy")
    axes.plot(epochs, [e.dev_macro_f1 for e in record.history], "s-", color=_INK, label="dev macro-F1")
    if record.dev is not None:
        axes.axhline(record.dev.majority_accuracy, color=_MUTED, ls=":", label="accuracy of the commonest class")
    losses = axes.twinx()
    losses.plot(epochs, [e.train_loss for e in record.history], "^--", color=_MUTED, label="train loss")
    losses.set_ylabel("train loss (nats)")
    losses.set_ylim(bottom=0)
    losses.spines["top"].set_visible(False)
    axes.set(xlabel="epoch", ylabel="share of headlines", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [*axes.get_legend_handles_labels()[0], *losses.get_legend_handles_labels()[0]]
    axes.legend(handles, [str(h.get_label()) for h in handles], frameon=False, loc="lower left")
    _say_how_to_read(
        figure, "The epoch with the best macro-F1 on dev is kept. Scores use the left axis, the loss the right one."
    )
    return figure


def confusion(report: ClassifierReport) -> Figure:
    """Headlines by true and predicted class. Beyond 8 classes the cells are shaded only."""
    few = len(report.per_class) <= 8
    side = 1.0 if few else 0.25  # inches of a cell
    figure, axes = _axes(
        f"Confusion matrix on {report.split}\naccuracy {report.accuracy:.3f}, macro-F1 {report.macro_f1:.3f}",
        max(4.6, min(14.0, 1.6 + side * len(report.per_class))),
        max(4.0, min(13.0, 1.0 + side * len(report.per_class))),
    )
    counts = np.array(report.confusion)
    share = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), n in np.ndenumerate(counts) if few else ():
        ink = "white" if share[row, column] > 0.6 else _INK
        axes.text(column, row, f"{n:,}\n{share[row, column]:.0%}", ha="center", va="center", color=ink)
    names = [score.label for score in report.per_class]
    axes.set_xticks(range(len(names)), names, rotation=0 if few else 90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    _say_how_to_read(
        figure, "Shading and percentages are shares of the row, so the diagonal shows each class's recall."
    )
    return figure


def sae_training(records: Mapping[str, SaeRecord]) -> Figure:
    """FVU, L0 and silent features of each SAE during training."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.6, 3.8), layout="constrained")
    for colour, (size, record) in zip(_SIZES * len(records), records.items(), strict=False):
        curve = record.curve
        left.plot(curve.tokens, curve.fvu, color=colour, label=size)
        middle.plot(curve.tokens, curve.l0, color=colour, label=size)
        right.plot(curve.tokens[len(curve.tokens) - len(curve.silent) :], curve.silent, color=colour, label=size)
    left.set(title="Unexplained variance (FVU)", xlabel="training tokens", ylabel="FVU", ylim=(0, 1))
    middle.set(title="Active features per token (L0)", xlabel="training tokens", ylabel="L0", yscale="log")
    right.set(title="Features silent for one pass", xlabel="training tokens", ylabel="share of features", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(11)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    left.legend(frameon=False, title="SAE size")
    _say_how_to_read(
        figure,
        "Each point of FVU and L0 is the mean since the previous point. Silent features did not fire for a whole pass "
        "over the training tokens.",
    )
    return figure


def l0_against_fvu(records: Mapping[str, SaeRecord]) -> Figure:
    """L0 and FVU of each SAE, on train and held-out."""
    figure, axes = _axes("Sparsity and reconstruction error of each SAE")
    for colour, (size, record) in zip(_SIZES * len(records), records.items(), strict=False):
        train, test = record.report.train, record.report.held_out
        axes.plot([train.l0, test.l0], [train.fvu, test.fvu], color=colour, lw=1)
        axes.scatter(train.l0, train.fvu, s=60, facecolor="white", edgecolor=colour, zorder=3)
        axes.scatter(test.l0, test.fvu, s=60, color=colour, zorder=3, label=size)
    axes.scatter([], [], color=_MUTED, label="held-out")
    axes.scatter([], [], facecolor="white", edgecolor=_MUTED, label="train")
    axes.legend(frameon=False, ncols=2)
    axes.set(xlabel="L0 (active features per token)", ylabel="FVU (share of variance unexplained)")
    axes.margins(0.15)
    _say_how_to_read(figure, "Further left is sparser, lower is closer to the activations.")
    return figure


def feature_density(run: Path) -> Figure:
    """Histogram of the share of a run's counted tokens on which each feature fires."""
    stats = read_run(run).feature_stats
    share = np.array(next(m.values for m in stats.metrics if m.name == "fraction_active"))
    live = share[share > 0]
    figure, axes = _axes(
        f"Feature density: {len(live):,} of {len(share):,} features fire on these {stats.n_counted_tokens:,} tokens"
    )
    low = np.log10(live.min()) if len(live) else -5
    axes.hist(live, bins=np.logspace(low, 0, 50).tolist(), color=_ACCENT)
    axes.set(xscale="log", xlabel="share of tokens on which the feature fires", ylabel="number of features")
    _say_how_to_read(figure, "A feature at 0.1 fires on every tenth token. Features that never fire are left out.")
    return figure


def headline_heat(run: Path, headline: int = 0) -> Figure:
    """The activations of a headline's strongest features, by token."""
    loaded = read_run(run)
    labels, prompt, fired = (
        loaded.metadata.labels,
        loaded.prompts[headline],
        loaded.headline_features.headlines[headline].features,
    )
    counted = [i for i, word in enumerate(prompt.words) if word >= 0]
    heat = np.zeros((len(fired), len(counted)))
    column = {position: i for i, position in enumerate(counted)}
    if loaded.metadata.sae.positions in PER_HEADLINE:
        return _headline_bars(fired, prompt)
    for row, feature in enumerate(fired):
        for position, value in zip(feature.positions, feature.values, strict=True):
            heat[row, column[position]] = value
    width = min(16.0, 2.5 + 0.55 * len(counted))
    figure, axes = _axes(
        f"predicted {labels[prompt.prediction]} ({prompt.probabilities[prompt.prediction]:.0%}), "
        f"true {labels[prompt.label]}",
        width,
        1.4 + 0.32 * len(fired),
    )
    image = axes.imshow(heat, aspect="auto", cmap="Blues", vmin=0)
    axes.set_xticks(range(len(counted)), [prompt.tokens[i] for i in counted], rotation=60, ha="right")
    axes.set_yticks(range(len(fired)), [f"{f.feature}: {f.word}" for f in fired])
    axes.set(xlabel="token", ylabel="feature: word where it is strongest")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="activation f")
    _say_how_to_read(figure, "Each row is a feature, strongest first. The darker a token, the larger its activation.")
    return figure


def _headline_bars(fired: Sequence[FiredFeature], prompt: Prompt) -> Figure:
    """The activations of features that fire on the headline as a whole."""
    figure, axes = _axes(textwrap.shorten(prompt.text, 80, placeholder=" …"), 6.4, 1.4 + 0.3 * len(fired))
    axes.barh([str(one.feature) for one in fired], [one.activation for one in fired], color=_ACCENT)
    axes.set(xlabel="activation f", ylabel="feature")
    axes.invert_yaxis()
    _say_how_to_read(figure, "One vector per headline: a feature fires on the headline as a whole.")
    return figure


def unchanged_predictions(records: Mapping[str, SaeRecord]) -> Figure:
    """Share of test predictions that stay the same when an SAE's reconstruction replaces the activations."""
    figure, axes = _axes("Predictions unchanged with the reconstruction spliced in", 5.2, 3.4)
    sizes = list(records)
    kept = [records[size].report.spliced.unchanged for size in sizes]
    axes.barh(sizes, kept, color=_SIZES[: len(sizes)] if len(sizes) <= len(_SIZES) else _ACCENT)
    for row, share in enumerate(kept):
        ink = _INK if row == 0 and len(sizes) > 1 else "white"  # the first bar is the palest
        axes.text(share - 0.01, row, f"{share:.1%}", ha="right", va="center", color=ink)
    axes.set(xlim=(0, 1), xlabel="share of test headlines", ylabel="SAE")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.invert_yaxis()
    _say_how_to_read(figure, "The reconstruction replaces the activations of the words of each headline.")
    return figure


def agreement(file: InterventionsFile) -> Figure:
    """Estimated effects of features on the predicted class against true ablation, by how features were chosen."""
    chosen = [a for a in file.agreement if a.estimate == "gradient"]
    figure, panels = plt.subplots(1, max(len(chosen), 1), figsize=(11.4, 4), layout="constrained", squeeze=False)
    for axes, a in zip(panels[0], chosen, strict=False):
        reach = max(map(abs, [*a.estimates, *a.truths]), default=1.0) * 1.05
        axes.plot([-reach, reach], [-reach, reach], color=_MUTED, lw=1)
        axes.scatter(a.estimates, a.truths, s=12, alpha=0.5, color=_ACCENT, edgecolor="none")
        axes.set(xlabel="estimated effect (gradient × activation), logits", ylabel="true effect (ablation), logits")
        axes.set_title(f"features chosen by {a.chosen}\nr = {a.pearson:.3f}, ρ = {a.spearman:.3f}", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.spines[["top", "right"]].set_visible(False)
    _say_how_to_read(
        figure,
        "Each point is one feature in one headline. On the line, the estimate equals the true effect. "
        "r is Pearson's and ρ Spearman's correlation.",
    )
    return figure


def density_of_sizes(records: Mapping[str, SaeRecord]) -> Figure:
    """Histogram of the share of held-out tokens on which each feature fires, for every SAE."""
    figure, axes = _axes("Feature density on held-out tokens")
    for colour, (size, record) in zip(_SIZES * len(records), records.items(), strict=False):
        found = record.report.held_out
        label = f"{size}, {found.silent_share:.1%} silent"
        edges = [10**edge for edge in found.density_edges]
        axes.stairs([n / record.config.d_sae for n in found.density], edges, color=colour, lw=2, label=label)
    axes.set(xscale="log", xlabel="share of tokens on which a feature fires", ylabel="share of features")
    axes.legend(frameon=False)
    _say_how_to_read(
        figure,
        "A feature at 0.1 fires on every tenth token. The legend gives the share that never fires on these tokens.",
    )
    return figure


def controls(file: ControlsFile) -> Figure:
    """FVU and label probes of an SAE beside its baselines."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    coded = [(c, c.code) for c in file.controls if c.code]
    names = [f"{c.name} (L0 {code.l0:.0f})" for c, code in coded]
    errors = np.array([_arms(code.fvu, c.fvu_interval) for c, code in coded]).T
    colours = [_ACCENT, *["#c3cad6"] * (len(names) - 1)]
    left.barh(names, [code.fvu for _, code in coded], xerr=errors, color=colours, ecolor=_INK)
    left.invert_yaxis()
    left.set(xlabel="FVU", ylabel="SAE or baseline")
    left.set_title(f"{file.size}: unexplained variance (FVU), held-out", loc="left", fontsize=11, color=_INK)
    ticks = {probe.k: place for place, probe in enumerate(file.controls[0].probing)}
    for n, control in enumerate(file.controls):
        probes = [probe for probe in control.probing if probe.k in ticks]
        places = [ticks[probe.k] + (n - len(file.controls) / 2) * 0.06 for probe in probes]
        arms = np.array([_arms(probe.auroc, probe.auroc_interval) for probe in probes]).reshape(-1, 2).T
        style = {"color": _ACCENT if n == 0 else _MUTED, "marker": "osv^D<xP"[n % 8], "lw": 2 if n == 0 else 0.8}
        right.errorbar(places, [probe.auroc for probe in probes], yerr=arms, label=control.name, **style)
    right.set_xticks(list(ticks.values()), ["all" if k is None else str(k) for k in ticks])
    right.set(xlabel="units per class (k)", ylabel="AUROC of the labels", ylim=(0.5, 1))
    right.set_title("k-sparse probes of the labels, held-out", loc="left", fontsize=11, color=_INK)
    right.legend(frameon=False, loc="lower right", fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    _say_how_to_read(
        figure,
        f"SAE {file.sae_hash} is blue, its baselines are grey. A shorter bar is a better reconstruction; a higher line "
        "says that k units tell more about the label. Arms are 95 % intervals of the bootstrap over test headlines.",
    )
    return figure


def _arms(value: float, ends: tuple[float, float] | None) -> tuple[float, float]:
    """The lengths of an interval's two arms; 0 where there is none."""
    return (value - ends[0], ends[1] - value) if ends else (0.0, 0.0)


def layers(file: LayersFile) -> Figure:
    """Layers side by side: probes, predictions without words or `[CLS]`, and how well the SAEs do."""
    has_saes = any(one.sae for one in file.layers)
    figure, panels = plt.subplots(
        1, 3 if has_saes else 2, figsize=(12.6 if has_saes else 8.6, 3.9), layout="constrained"
    )
    reading, deciding = panels[:2]
    reading.axhline(file.accuracy, color=_MUTED, lw=1, label="classifier")
    reading.axhline(file.majority, color=_MUTED, lw=1, ls=":", label="commonest class")
    reading.set_title("Probe accuracy", loc="left", fontsize=11, color=_INK)
    deciding.set_title("Predictions that change without words or [CLS]", loc="left", fontsize=11, color=_INK)
    for axes, of_words, of_cls in ((reading, "probe_words", "probe_cls"), (deciding, "changed_words", "changed_cls")):
        _line_of_layers(axes, {one.layer: getattr(one, of_words) for one in file.layers}, "o-", _ACCENT, "words")
        _line_of_layers(axes, {one.layer: getattr(one, of_cls) for one in file.layers}, "s--", _INK, "[CLS]")
        axes.set(xlabel="layer", ylabel="share of test headlines")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    deciding.set_ylim(bottom=-0.02)
    if has_saes:
        saes = {one.layer: one.sae for one in file.layers if one.sae}
        axes = panels[2]
        size = next(iter(saes.values())).size
        axes.set_title(f"SAE {size}: lost, held out", loc="left", fontsize=11, color=_INK)
        _line_of_layers(axes, {layer: sae.fvu for layer, sae in saes.items()}, "o-", _ACCENT, "variance (FVU)")
        lost = {layer: _complement(sae.unchanged) for layer, sae in saes.items()}
        _line_of_layers(axes, lost, "^--", _INK, "predictions (changed)")
        axes.set(xlabel="layer, with L0 of its SAE", ylabel="share")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in panels:
        numbers = [one.layer for one in file.layers]
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(numbers)
        axes.legend(frameon=False, fontsize=9, loc="lower right" if axes is reading else "best")
    if has_saes:
        panels[2].set_xticks(list(saes), [f"{layer}\n{sae.l0.value:.0f}" for layer, sae in saes.items()])
    _say_how_to_read(
        figure,
        "The decision is at the words where ablating them changes predictions, and at [CLS] where ablating it does: "
        "ablated is a layer's output that is set to its mean over train. A probe is a logistic regression on the mean "
        "over words, or on [CLS], the first token. Bars are 95 % intervals.",
    )
    return figure


def _line_of_layers(axes: Axes, figures: Mapping[int, Measured], style: str, colour: str, label: str) -> None:
    """A line over layers, with intervals where there are any."""
    values = np.array([one.value for one in figures.values()])
    spread = np.abs(np.array([one.ends for one in figures.values()]).T - values)
    axes.errorbar(list(figures), values, spread, fmt=style, color=colour, label=label, ms=5, lw=1.5, capsize=2)


def _complement(share: Measured) -> Measured:
    """1 − share, with its interval."""
    low, high = share.ends
    return Measured(value=1 - share.value, low=1 - high, high=1 - low)
