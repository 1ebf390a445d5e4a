"""From hidden states to firings: the features that are active at the counted tokens of a batch."""

from sae_pipeline.activations.reading import HiddenBatch
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.sae.autoencoder import SparseAutoencoder


def active_entries(sae: SparseAutoencoder, batch: HiddenBatch) -> tuple[Ints, Ints, Ints, Floats]:
    """Headline, position, feature and activation of every active entry, each [n_entries]; see `Firings.collect`."""
    token, feature, value = sae.encode_active(batch.acts)
    return batch.headlines.cpu().numpy()[token], batch.positions.cpu().numpy()[token], feature, value
