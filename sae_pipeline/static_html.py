"""HTML without scripts: readable in a saved notebook and as a page of its own, in light and dark themes.

Colours are shades over whatever the page's own background is, and text keeps the page's colour.
"""

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_HEAT = "156, 58, 128"  # the viewer's plum
_DEEPEST = 0.6  # opacity at which text is readable over a light and a dark page
_CELL = "padding: 0.2em 0.8em 0.2em 0; border-bottom: 1px solid #8884; vertical-align: top"
_KEPT = "\n\t\u200c\u200d"  # the last two join letters and emoji
_SOFT = "opacity: 0.7"


@dataclass(frozen=True)
class Stretch:
    """A part of a text, in code points, half open. `strength` is from 0 to 1; `note` is shown on hovering."""

    start: int
    end: int
    strength: float
    note: str


_PAGE_STYLE = """
:root { color-scheme: light dark }
body { margin: 2.5rem auto; max-width: 60rem; padding: 0 1.25rem; font: 15px/1.5 ui-sans-serif, system-ui, sans-serif }
h1 { font: 400 1.6rem/1.3 ui-serif, Georgia, serif; margin: 0 0 0.5rem; overflow-wrap: anywhere }
body > div { margin-top: 1.6rem }
@page { margin: 18mm }
@media print {
  :root { color-scheme: light }
  body { margin: 0; max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact }
  tr, p { break-inside: avoid }
}
"""


def page(title: str, body: str) -> str:
    """A whole page around parts of HTML; it runs no scripts and loads nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{text(title)}</title>\n'
        f"<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def block(title: str, *parts: str) -> str:
    """Parts of HTML under a title."""
    heading = f'<p style="margin: 0 0 0.4em; font-weight: 600">{text(title)}</p>'
    return f'<div style="line-height: 1.5; max-width: 60em">{heading}{"".join(parts)}</div>'


def paragraph(sentence: str) -> str:
    """A sentence."""
    return f'<p style="margin: 0.4em 0; {_SOFT}">{text(sentence)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table. Numbers stand to the right; a cell that is a `Html` is taken as it is."""
    kept = [list(row) for row in rows]
    is_number = [any(isinstance(row[n], int | float) for row in kept) for n in range(len(header))]
    head = "".join(_cell("th", name, right) for name, right in zip(header, is_number, strict=True))
    lines = ("".join(_cell("td", cell, right) for cell, right in zip(row, is_number, strict=True)) for row in kept)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    caption = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    return (
        '<div style="overflow-x: auto"><table style="border-collapse: collapse; margin: 0.4em 0; font-size: 0.95em; '
        f'font-variant-numeric: tabular-nums">{caption}<tbody>{body}</tbody></table></div>'
    )


class Html(str):
    """Text that is HTML already."""


def heat(whole: str, stretches: Iterable[Stretch]) -> Html:
    """A text whose stretches are the darker, the stronger they are. Stretches do not overlap."""
    parts, at = [], 0
    for stretch in sorted(stretches, key=lambda one: one.start):
        start, end = max(at, stretch.start), max(at, stretch.end)
        strength = min(max(stretch.strength, 0.0), 1.0)
        parts.append(text(whole[at:start]))
        if strength > 0 and end > start:
            shade = f"background: rgba({_HEAT}, {0.1 + (_DEEPEST - 0.1) * strength:.2f}); color: inherit"
            mark = f'<mark style="{shade}; border-radius: 3px" title="{text(stretch.note)}">'
            parts.append(f"{mark}{text(whole[start:end])}</mark>")
        else:
            parts.append(text(whole[start:end]))
        at = end
    parts.append(text(whole[at:]))
    return Html(f'<bdi style="white-space: pre-wrap; overflow-wrap: anywhere">{"".join(parts)}</bdi>')


def text(value: Any) -> str:
    """A value as text in HTML: characters that are markup, or that the eye does not see, are written out."""
    return html.escape("".join(f"\\u{ord(one):04x}" if _is_unseen(one) else one for one in str(value)))


def number(value: float | None) -> str:
    """A number with four significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _is_unseen(character: str) -> bool:
    """Whether it is a control or format character, which may also turn the direction of the text around it."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _KEPT


def _cell(tag: str, value: Any, right: bool) -> str:
    content = value if isinstance(value, Html) else text(number(value) if isinstance(value, int | float) else value)
    return f'<{tag} style="{_CELL}; text-align: {"right" if right else "left"}">{content}</{tag}>'
