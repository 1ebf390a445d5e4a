"""A feature's card as an HTML page that needs neither a server nor scripts."""

from sae_pipeline.static_html import Html, Stretch, block, heat, page, paragraph, table, text
from viz_analysis.api.card_types import CardContent, CardSection


def card_html(card: CardContent) -> str:
    """The card as a whole page, which prints well."""
    parts = [paragraph(card.summary), *(block(one.title, *_parts(one)) for one in card.sections)]
    return page(card.title, f"<h1>{text(card.title)}</h1>{''.join(parts)}")


def _parts(section: CardSection) -> list[str]:
    parts = [paragraph(sentence) for sentence in section.sentences]
    if section.table:
        parts.append(table(section.table.header, section.table.rows))
    for one in section.examples:
        stretches = [Stretch(part.start, part.end, part.strength, part.note) for part in one.stretches]
        parts.append(Html(f'<p style="margin: 0.4em 0">{heat(one.text, stretches)}<br>{_note(one.note)}</p>'))
    return parts


def _note(note: str) -> str:
    return f'<span style="opacity: 0.7; font-size: 0.9em">{text(note)}</span>'
