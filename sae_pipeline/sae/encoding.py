"""The features of headlines: which ones are active, where, and how strongly."""

from torch import Tensor

from sae_pipeline.activations.reading import HiddenBatch, read_activations
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.sae.autoencoder import SparseAutoencoder


def encode_headline(classifier: Classifier, sae: SparseAutoencoder, text: str) -> Tensor:
    """The feature_acts of one headline at the positions that the SAE was trained on, float32 [n_tokens, d_sae].

    `classifier.tokenize([text])[0]` has the tokens, and its `counted(sae.config.positions)` the positions of the rows.
    """
    tokenized, pad_id = classifier.tokenize([text]), classifier.tokenizer.pad_token_id
    place = sae.config.hookpoint.layer, sae.config.positions
    acts, _ = read_activations(classifier.model, tokenized, pad_id, *place)
    return sae.encode(acts)


def active_entries(sae: SparseAutoencoder, batch: HiddenBatch) -> tuple[Ints, Ints, Ints, Floats]:
    """Headline, position, feature and activation of every active entry, each [n_entries]; see `Firings.collect`."""
    token, feature, value = sae.encode_active(batch.acts)
    return batch.headlines.cpu().numpy()[token], batch.positions.cpu().numpy()[token], feature, value
