"""Any text, escaped so that pdfLaTeX prints it unchanged."""

import re

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
_PIECES = re.compile(rf"[^\W_]{{1,{_LONG}}}[\W_]{{,{_LONG}}}|[\W_]{{1,{_LONG}}}")  # letters, then signs such as - or /


def latex_text(written: str) -> str:
    """A text in LaTeX. Letters that not every LaTeX has, such as emoji, become their code point: U+1F680."""
    return " ".join(_word(word) for word in written.split(" "))


def _word(word: str) -> str:
    """A word; a long one, such as a path or a hash, may be broken, if possible after a sign."""
    pieces = _PIECES.findall(word) if len(word) > _LONG else [word]
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
