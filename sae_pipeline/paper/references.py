"""Citing what a paper uses: model, data, kinds of SAE, metrics and packages. `references.bib` has the entries."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from sae_pipeline import __version__

_MODELS = (("finbert", ["finbert", "bert"]), ("minilm", ["minilm", "sbert"]), ("mpnet", ["mpnet", "sbert"]))
KIND_KEYS = {
    "relu": ["bricken", "cunningham"],
    "topk": ["topk"],
    "batchtopk": ["batchtopk"],
    "jumprelu": ["jumprelu"],
    "gated": ["gated"],
    "matryoshka": ["matryoshka"],
}


def model_keys(model: str) -> list[str]:
    """The keys of a model's papers, told from its name; none for a model of which nothing is known."""
    name = model.lower()
    return next((keys for part, keys in _MODELS if part in name), ["bert"] if name.startswith("bert") else [])


def cite(keys: Iterable[str]) -> str:
    r"""`\cite` of some entries, after a space that does not break; nothing for none."""
    joined = ",".join(keys)
    return f"~\\cite{{{joined}}}" if joined else ""


def bibliography(text: str) -> str:
    """The BibTeX of the entries that a LaTeX text cites."""
    return "\n\n".join(entry for key, entry in _entries().items() if _cites(text, key)) + "\n"


@cache
def _entries() -> dict[str, str]:
    """The entries of `references.bib`, by their keys."""
    text = files(__package__).joinpath("references.bib").read_text(encoding="utf-8").replace("VERSION", __version__)
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in text.strip().split("\n\n")}


def _cites(text: str, key: str) -> bool:
    parts = text.split("\\cite{")[1:]
    return any(key in part.split("}")[0].split(",") for part in parts)
