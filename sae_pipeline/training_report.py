"""The training report: one page with the tables and plots of the present classifier and its SAEs."""

import html
import io
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from . import plots
from .artefacts import write_file
from .layout import Layout
from .report import StudyReport

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training report: {title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1d2433; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ overflow-x: auto; font-size: 13px; line-height: 1.4 }}
figure {{ margin: 2rem 0 }}
svg {{ max-width: 100%; height: auto }}
figcaption {{ color: #525b6e }}
</style>
<h1>Training report: {title}</h1>
<pre>{table}</pre>
{figures}
</html>
"""


def write_report(root: Path, report: StudyReport) -> Path:
    """Write `finbert_sae/training_report.html`, which needs no other file. Returns its path."""
    record, saes = report.classifier, report.saes
    figures = [
        (plots.fine_tuning(record), "Train loss and dev scores after each pass; the best pass is kept."),
        (plots.confusion(record.test), "Rows are true labels; shading is the share of the row."),
        (plots.sae_training(saes), "Means between points; dead features are those silent for a whole pass."),
        (plots.l0_against_fvu(saes), "Filled points are held-out headlines, hollow ones train."),
        (plots.unchanged_predictions(saes), "On the test split, with the words' activations replaced."),
    ]
    page = _PAGE.format(
        title=html.escape(f"{record.model}, classifier {report.classifier_hash}"),
        table=html.escape("\n".join(report.lines())),
        figures="\n".join(_figure(figure, caption) for figure, caption in figures),
    )
    path = Layout(root).training_report
    write_file(path, page.encode())
    return path


def _figure(figure: Figure, caption: str) -> str:
    """As SVG inside the page; the figure is closed."""
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "report"}):  # the same ids each time
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return f"<figure>{text[text.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>"
