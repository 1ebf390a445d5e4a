"""Links and the key of a headline."""

from sae_pipeline.headlines.text import link_spans, normalise


def test_links_are_told_from_words() -> None:
    """Spans in code points, without the punctuation that follows a link."""
    text = "📈 Up (see https://t.co/aB1?x=1), www.example.com/a. HTTP://X.ORG… awww.no"
    assert [text[a:b] for a, b in link_spans(text)] == ["https://t.co/aB1?x=1", "www.example.com/a", "HTTP://X.ORG"]
    assert normalise("  A\u00a0B\n https://t.co/x c ") == "a b c"
