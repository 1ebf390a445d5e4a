"""Sparse autoencoders on the activations of a text classifier, from headlines to a readable run.

The names below are the public face; importing the package loads nothing heavy until one of them is used. The folders
show the road: headlines → classifier → activations → sae → evaluation, analysis → causal → study. `pipeline` holds the
verbs of a study.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_explorer.show import show
    from sae_pipeline.analysis.metrics import FEATURE_METRICS, Metric
    from sae_pipeline.config import study_config
    from sae_pipeline.runs.folders import load_run
    from sae_pipeline.sae.autoencoder import SparseAutoencoder
    from sae_pipeline.sae.encoding import encode_headline, read_headline
    from sae_pipeline.study.present import load_classifier

__version__ = "0.1.0"

_HOMES = {
    "FEATURE_METRICS": "sae_pipeline.analysis.metrics",
    "Metric": "sae_pipeline.analysis.metrics",
    "SparseAutoencoder": "sae_pipeline.sae.autoencoder",
    "encode_headline": "sae_pipeline.sae.encoding",
    "load_classifier": "sae_pipeline.study.present",
    "load_run": "sae_pipeline.runs.folders",
    "read_headline": "sae_pipeline.sae.encoding",
    "show": "sae_explorer.show",  # the one name from above the library: it starts the server
    "study_config": "sae_pipeline.config",
}

__all__ = [
    "FEATURE_METRICS",
    "Metric",
    "SparseAutoencoder",
    "encode_headline",
    "load_classifier",
    "load_run",
    "read_headline",
    "show",
    "study_config",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
