"""Small pages that need neither the built viewer nor a script."""

import re

from flask import request
from markupsafe import Markup, escape

_FLAG = re.compile(r"--[a-z][a-z-]*(?: [\w*][\w.*-]*)?(?![^<]*>)")  # with its value; outside tags
_STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#fdfaf6, #16130f); --ink: light-dark(#2a2320, #ece5de);
  --soft: light-dark(#6b5f58, #a99d93); --line: light-dark(#d8cec4, #453d36); --accent: light-dark(#9c3a80, #e9a0d0) }
body { margin: 0; padding: min(20vh, 10rem) 1.25rem 2rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 ui-sans-serif, system-ui, sans-serif }
main { max-width: 26rem; margin: 0 auto }
h1 { margin: 0 0 1rem; font: 400 1.5rem/1.3 ui-serif, Georgia, serif }
p { margin: 0 0 1rem; overflow-wrap: anywhere } small { color: var(--soft); font-size: .875rem } a { color: inherit }
code { font: inherit; white-space: nowrap }
label { display: block; margin-bottom: .375rem }
input, button { box-sizing: border-box; width: 100%; min-height: 2.75rem; margin-bottom: 1rem; padding: 0 .75rem;
  border: 1px solid var(--line); border-radius: .375rem; background: transparent; color: inherit; font: inherit }
button { border-color: var(--accent); color: var(--accent); font-weight: 600; cursor: pointer }
:is(input, button):focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
[role="alert"] { color: light-dark(#b3261e, #f2a099) }
"""


def wants_page() -> bool:
    """Whether a browser asks for a page, rather than a script for data."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api/")


def small_page(title: str, content: str) -> str:
    """A page with a heading. `content` is HTML if it is `Markup`, else text. No flag in it is broken at its hyphens."""
    content = Markup(_FLAG.sub(r"<code>\g<0></code>", str(escape(content))))
    return Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        'initial-scale=1"><title>{title} · FinBERT SAE Explorer</title><style>{style}</style></head>'
        "<body><main><h1>{title}</h1>{content}</main></body></html>\n"
    ).format(title=title, style=Markup(_STYLE), content=content)
