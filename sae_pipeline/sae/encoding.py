"""The features of headlines: which ones are active, where, and how strongly."""

from torch import Tensor

from sae_pipeline.activations.reading import HiddenBatch, read_activations
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.runs.readable import ReadHeadline
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind
from sae_pipeline.schema.run import FiredFeature, Prompt


def encode_headline(classifier: Classifier, sae: SparseAutoencoder, text: str) -> Tensor:
    """The feature_acts of one headline at the positions that the SAE was trained on, float32 [n_tokens, d_sae].

    `classifier.tokenize([text])[0]` has the tokens, and its `counted(sae.config.positions)` the positions of the rows.
    An SAE that reads one vector per headline gives one row.
    """
    tokenized, pad_id = classifier.tokenize([text]), classifier.tokenizer.pad_token_id
    place = sae.config.hookpoint.layer, sae.config.positions
    acts, _ = read_activations(classifier.model, tokenized, pad_id, *place)
    return sae.encode(acts)


def read_headline(classifier: Classifier, sae: SparseAutoencoder, text: str, top: int = 10) -> ReadHeadline:
    """A headline of your own: its prediction, and the `top` features with the largest activation in it."""
    (tokens,) = classifier.tokenize([text])
    probabilities = softmax(predict(classifier.model, [tokens], classifier.tokenizer.pad_token_id)[0].astype(float))
    f = encode_headline(classifier, sae, text)
    kind = sae.config.positions
    counted = [0] if kind in PER_HEADLINE else tokens.counted(kind)
    highest = f.amax(0) if len(f) else f.new_zeros(f.shape[1])  # a text may have no words
    peaks, ids = highest.topk(min(top, len(highest)))
    features = [_fired(feature, f[:, feature].tolist(), counted, tokens, kind) for feature in ids[peaks > 0].tolist()]
    prediction = int(probabilities.argmax())
    prompt = Prompt(
        headline_id=headline_id(text),
        text=text,
        label=prediction,
        prediction=prediction,
        probabilities=probabilities.tolist(),
        columns={},
        **{name: getattr(tokens, name) for name in ("tokens", "starts", "ends", "words")},
    )
    lit = features[0] if features else None
    return ReadHeadline("A headline", classifier.record.labels, False, prompt, features, lit)


def _fired(
    feature: int, values: list[float], positions: list[int], tokens: TokenizedHeadline, kind: PositionKind
) -> FiredFeature:
    """A feature in a headline, given its activations at the counted positions."""
    active = [(at, value) for at, value in zip(positions, values, strict=True) if value > 0]
    peak, highest = max(active, key=lambda one: one[1])
    token, word = tokens.fired_on(peak, kind)
    on_tokens = active if token else []
    return FiredFeature(
        feature=feature,
        activation=highest,
        position=peak,
        token=token,
        word=word,
        positions=[at for at, _ in on_tokens],
        values=[value for _, value in on_tokens],
    )


def active_entries(sae: SparseAutoencoder, batch: HiddenBatch) -> tuple[Ints, Ints, Ints, Floats]:
    """Headline, position, feature and activation of every active entry, each [n_entries]; see `Firings.collect`."""
    token, feature, value = sae.encode_active(batch.acts)
    return batch.headlines.cpu().numpy()[token], batch.positions.cpu().numpy()[token], feature, value
