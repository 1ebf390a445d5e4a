"""A made-up `layers.json`, for tests of the server and the viewer."""

from pathlib import Path

from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.evaluation.which_layer import which_layer
from sae_pipeline.schema.layers import LAYERS, LayerFigures, LayerSae, LayersFile, Measured


def measured(value: float, half: float = 0.02) -> Measured:
    """A figure with its interval."""
    return Measured(value=value, low=max(0.0, value - half), high=value + half)


def write_layers(study: Path, classifier_hash: str) -> LayersFile:
    """Write the made-up file into a study."""
    file = made_up_layers(classifier_hash)
    (study / "finbert_sae").mkdir(exist_ok=True)
    write_record(study / "finbert_sae" / LAYERS, file)
    return file


def made_up_layers(classifier_hash: str) -> LayersFile:
    """What `layers` would find of a classifier that moves its decision from the words to [CLS] at the end."""
    figures = [
        LayerFigures(
            layer=layer,
            probe_words=measured(0.7 + 0.012 * layer),
            probe_cls=measured(0.62 + 0.02 * layer),
            changed_words=measured(0.39 if layer < 10 else 0.2 if layer == 10 else 0.0),
            changed_cls=measured(0.002 if layer < 10 else 0.03 if layer == 10 else 0.4),
            sae=None
            if layer == 6
            else LayerSae(
                sae_hash="5ae",
                size="4k",
                kind="batchtopk",
                d_sae=4096,
                positions="words",
                l0=measured(60 + layer, 1),
                fvu=measured(0.1 + 0.01 * layer, 0.005),
                unchanged=measured(0.995 - 0.002 * layer, 0.003),
            ),
        )
        for layer in (2, 4, 6, 8, 10, 12)
    ]
    return LayersFile(
        schema_version=2,
        classifier_hash=classifier_hash,
        model="made-up",
        n_layers=12,
        labelled=True,
        split="test",
        n_headlines=2377,
        n_train=8470,
        accuracy=0.88,
        majority=0.655,
        seconds=61.5,
        device="cpu",
        layers=figures,
        answer=list(which_layer(figures)),
    )
