"""A feature's card as a LaTeX document for pdfLaTeX."""

from sae_pipeline.latex import latex_text
from viz_analysis.api.card_types import CardContent, CardExample, CardSection, CardTable

_HEAD = r"""\documentclass[11pt]{article}
\usepackage[a4paper,margin=2.5cm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{array}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.5em}
\emergencystretch=3em
\begin{document}
"""


def card_latex(card: CardContent) -> str:
    """The card as a whole document. Characters that not every LaTeX has are written as their code point."""
    sections = "".join(map(_section, card.sections))
    return f"{_HEAD}\\section*{{{latex_text(card.title)}}}\n{latex_text(card.summary)}\n{sections}\\end{{document}}\n"


def _section(section: CardSection) -> str:
    parts = [f"\n\\subsection*{{{latex_text(section.title)}}}\n"]
    parts += [f"{latex_text(sentence)}\n\n" for sentence in section.sentences]
    if section.table:
        parts.append(_table(section.table))
    if section.examples:
        items = "".join(f"\\item {_example(one)}\n" for one in section.examples)
        parts.append(f"\\begin{{itemize}}\n{items}\\end{{itemize}}\n")
    return "".join(parts)


def _table(table: CardTable) -> str:
    columns = len(table.header)
    width = f"{0.94 / columns:.3f}"
    layout = "l" * columns if columns > 3 else f">{{\\raggedright\\arraybackslash}}p{{{width}\\textwidth}}" * columns
    size = "\\footnotesize" if columns > 3 else "\\small"
    rows = [table.header, *table.rows] if any(table.header) else table.rows
    lines = [" & ".join(map(latex_text, row)) + r" \\" for row in rows]
    if any(table.header):
        lines.insert(1, "\\hline")
    return f"{{{size}\n\\begin{{tabular}}{{{layout}}}\n" + "\n".join(lines) + "\n\\end{tabular}}\n\n"


def _example(example: CardExample) -> str:
    """The headline with the words on which the feature fires in bold."""
    parts, at = [], 0
    for stretch in sorted(example.stretches, key=lambda one: one.start):
        start, end = max(at, stretch.start), max(at, stretch.end)
        parts.append(latex_text(example.text[at:start]))
        if end > start:
            parts.append(f"\\textbf{{{latex_text(example.text[start:end])}}}")
        at = end
    parts.append(latex_text(example.text[at:]))
    return f"{''.join(parts)} ({latex_text(example.note)})"
