"""A feature's card as a LaTeX document for pdfLaTeX."""

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
_ESCAPED = {
    **{char: f"\\{char}" for char in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "−": r"\ensuremath{-}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "[": "{[}",  # which \\ and \item would take as their argument
    "*": "{*}",
    "…": r"\dots{}",
    "·": r"\textperiodcentered{}",
    "€": r"EUR\,",
}
_LONG = 20  # characters without a space, after which a line may break


def card_latex(card: CardContent) -> str:
    """The card as a whole document. Characters that not every LaTeX has are written as their code point."""
    sections = "".join(map(_section, card.sections))
    return f"{_HEAD}\\section*{{{_text(card.title)}}}\n{_text(card.summary)}\n{sections}\\end{{document}}\n"


def _section(section: CardSection) -> str:
    parts = [f"\n\\subsection*{{{_text(section.title)}}}\n"]
    parts += [f"{_text(sentence)}\n\n" for sentence in section.sentences]
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
    lines = [" & ".join(map(_text, row)) + r" \\" for row in rows]
    if any(table.header):
        lines.insert(1, "\\hline")
    return f"{{{size}\n\\begin{{tabular}}{{{layout}}}\n" + "\n".join(lines) + "\n\\end{tabular}}\n\n"


def _example(example: CardExample) -> str:
    """The headline with the words on which the feature fires in bold."""
    parts, at = [], 0
    for stretch in sorted(example.stretches, key=lambda one: one.start):
        start, end = max(at, stretch.start), max(at, stretch.end)
        parts += [_text(example.text[at:start]), f"\\textbf{{{_text(example.text[start:end])}}}" if end > start else ""]
        at = end
    parts.append(_text(example.text[at:]))
    return f"{''.join(parts)} ({_text(example.note)})"


def _text(written: str) -> str:
    return " ".join(_word(word) for word in written.split(" "))


def _word(word: str) -> str:
    """A word; a long one, such as a hash, may be broken."""
    pieces = [word[n : n + _LONG] for n in range(0, len(word), _LONG)]
    return "\\allowbreak{}".join("".join(map(_character, piece)) for piece in pieces)


def _character(char: str) -> str:
    if char in _ESCAPED:
        return _ESCAPED[char]
    if " " <= char <= "~":
        return char
    if char in "\n\t":
        return " "
    if "\u00c0" <= char <= "\u00ff" and char not in "×÷":
        return char  # letters of Latin-1, which every encoding of fonts has
    return f"{{\\ttfamily U+{ord(char):04X}}}"
