"""The verb diff: which features fine-tuning changed, how much of that another seed changes too, and what they do."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.analysis.words import WordCounts, word_texts
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.config import DiffConfig, TrainConfig
from sae_pipeline.diffing.changes import EDGES, MIN_HEADLINES, Changes, replication
from sae_pipeline.diffing.crosscoder import Crosscoder, JointReading, Place
from sae_pipeline.diffing.examples import examples
from sae_pipeline.diffing.models import Compared, check_comparable, compared_models, drawn
from sae_pipeline.diffing.sets import set_effect
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.runs.index import index_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind
from sae_pipeline.schema.diff import CHANGES, DIFF, DiffFeature, DiffFile, DiffModel, SetChange, SetEffect, SetRole
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout

_BEFORE, _AFTER, _CONTROL = 0, 1, 2  # the models, in the crosscoder's order
_WORDS = 8


@readable_memory_errors("comparing the models")
def diff(config: DiffConfig, root: Path, device: torch.device) -> DiffFile:
    """Compare a run's classifier with another model and write `diff.json` into the run.

    A crosscoder is trained on the training headlines as the models read them. What its features do is then measured on
    the run's headlines. Raises UserError for models that cannot be compared, and for headlines that are too few.
    """
    started = time.perf_counter()
    run = read_run(find_run(Layout(root).runs, config.run))
    classifier, sae = present.run_parts(root, run.metadata, device)
    training = present.headlines_of(classifier.record, root).train.texts
    order = np.random.default_rng(config.seed).permutation(len(run.prompts))
    numbers: Ints = np.sort(order[: config.max_headlines])
    prompts = [run.prompts[n] for n in numbers.tolist()]
    texts = [prompt.text for prompt in prompts]
    models = compared_models(classifier, config, root, device)
    check_comparable(models, classifier, sae.config.hookpoint.layer, texts)
    place = Place(
        sae.config.hookpoint, sae.config.positions, classifier.tokenizer.pad_token_id, config.tokens_per_batch
    )
    inputs = ("diff", run.checksum, [model.name for model in models], config.model_dump())
    with unfinished(Layout(root).checkpoints, *inputs) as checkpoint:
        acts = _training_acts(models, classifier.tokenize(training), place, config)
        if torch.equal(acts[_BEFORE], acts[_AFTER]):  # as below layers that were frozen
            raise UserError(
                f"Up to layer {sae.config.hookpoint.layer}, {models[_BEFORE].name} and {classifier.hash} compute the "
                "same, so there is nothing to compare; analyze a later layer."
            )
        n_vectors = len(acts[0])
        crosscoder = Crosscoder.train(acts, place, _training(config), device, checkpoint)
    joint = _joint_reading(models, classifier.tokenize(texts), place, crosscoder)
    n_headlines = np.bincount(joint.firings.group_feature, minlength=crosscoder.d_sae)
    live = n_headlines >= MIN_HEADLINES
    if not live.any():
        raise UserError(
            f"No feature fires in {MIN_HEADLINES} of the {len(prompts)} headlines of {run.metadata.run_id}, so no "
            "change can be seen; analyze more headlines."
        )
    heads = [Head.of(crosscoder, joint, place, number, model) for number, model in enumerate(models)]
    labels = np.array([prompt.label for prompt in prompts], np.int64)
    found = _Changes.of(crosscoder, live, len(models))
    file = DiffFile(
        **made_from(run),
        device=str(device),
        seconds=round(time.perf_counter() - started, 2),
        config=config.model_dump(mode="json"),
        labels=run.metadata.labels,
        layer=place.hookpoint.layer,
        positions=place.positions,
        models=[
            DiffModel(
                role=model.role,
                model=model.name,
                classifier_hash=model.classifier_hash,
                accuracy=head.accuracy(labels) if head and run.metadata.labelled else None,
                fvu=fvu,
            )
            for model, head, fvu in zip(models, heads, joint.fvu, strict=True)
        ],
        d_sae=crosscoder.d_sae,
        k=crosscoder.k,
        n_vectors=n_vectors,
        n_headlines=len(prompts),
        l0=len(joint.firings.feature) / max(1, len(joint.headline)),
        n_live=int(live.sum()),
        counts=found.own.counts,
        counts_control=found.seeds and found.seeds.counts,
        replication=found.control and replication(found.own, found.control),
        growth_edges=EDGES.tolist(),
        growth=found.own.histogram,
        growth_control=found.seeds and found.seeds.histogram,
        sets=list(_sets(heads, found, labels, config)),
        features=list(_features(crosscoder, joint, heads, found, numbers, sae, config)),
    )
    add_file(run, DIFF, file.model_dump_json().encode())
    index_run(run.folder)
    return file


def _training(config: DiffConfig) -> TrainConfig:
    """How the crosscoder is trained; what is open is settled by the number of vectors."""
    dims = (config.d_sae,) if config.d_sae else ()
    return TrainConfig(kind="batchtopk", latent_dims=dims, k=config.k, seed=config.seed)


def _training_acts(
    models: Sequence[Compared], headlines: Sequence[TokenizedHeadline], place: Place, config: DiffConfig
) -> list[Tensor]:
    """The activations of the same headlines in every model, float16 [n_vectors, d_model] each."""
    n_vectors = np.array([headline.n_vectors(place.positions) for headline in headlines], np.int64)
    chosen = drawn(n_vectors, config.max_vectors, config.seed).tolist()
    some = [headlines[n] for n in chosen]
    shown = tqdm(models, desc="training headlines", unit="model")
    return [place.training_acts(model.network, some) for model in shown]


def _joint_reading(
    models: Sequence[Compared], headlines: Sequence[TokenizedHeadline], place: Place, crosscoder: Crosscoder
) -> JointReading:
    """The run's headlines as all models read them."""
    shown = tqdm(models, desc="headlines of the run", unit="model")
    return JointReading.of(crosscoder, [place.hidden_states(model.network, headlines) for model in shown])


@dataclass(frozen=True)
class Head:
    """A model that tells the run's classes apart, and what the features do to its logits."""

    probe: Probe
    reading: Reading
    effects: Floats  # [d_sae, n_classes] mean over the headlines in which a feature fires of gradient × activation

    @classmethod
    def of(
        cls, crosscoder: Crosscoder, joint: JointReading, place: Place, number: int, model: Compared
    ) -> "Head | None":
        """The model with this number in the crosscoder; None where it has no head for these classes."""
        if not model.has_head:
            return None
        probe = crosscoder.probe(number, model.network, place.pad_id, place.tokens_per_batch)
        reading = joint.reading(number, np.zeros((joint.n_headlines, probe.tail.n_classes)))
        attribution = attribute(probe, reading, steps=0)
        reading = replace(reading, logits=attribution.logits)
        by_group = attribution.by_feature(joint.firings, "gradient")
        feature = joint.firings.group_feature
        n = np.bincount(feature, minlength=crosscoder.d_sae)
        sums = [np.bincount(feature, column, crosscoder.d_sae) for column in by_group.T]
        return cls(probe, reading, np.stack(sums, 1) / np.maximum(n, 1)[:, None])

    def accuracy(self, labels: Ints) -> float:
        """The share of right predictions."""
        return float((self.reading.logits.argmax(1) == labels).mean())


@dataclass(frozen=True)
class _Changes:
    """The changes from before to after, and, where there is a control, those between it and the two."""

    own: Changes
    seeds: Changes | None  # from the control to after
    control: Changes | None  # from before to the control

    @classmethod
    def of(cls, crosscoder: Crosscoder, live: Flags, n_models: int) -> "_Changes":
        own = Changes.between(crosscoder, _BEFORE, _AFTER, live)
        if n_models <= _CONTROL:
            return cls(own, None, None)
        seeds = Changes.between(crosscoder, _CONTROL, _AFTER, live)
        return cls(own, seeds, Changes.between(crosscoder, _BEFORE, _CONTROL, live))


def _sets(heads: Sequence[Head | None], found: _Changes, labels: Ints, config: DiffConfig) -> Iterator[SetEffect]:
    """The effects of the listed features that have grown or faded, ablated together."""
    wanted: list[tuple[SetChange, SetRole, int]] = [("grown", "after", _AFTER), ("faded", "after", _AFTER)]
    if found.control is not None:
        wanted.append(("grown", "control", _CONTROL))
    order = np.random.default_rng(config.seed).permutation(len(labels))
    rows: Ints = np.sort(order[: config.set_headlines])
    for change, role, number in wanted:
        features, head = found.own.most(change, config.features), heads[number]
        if len(features) and head is not None:
            some = (labels[rows], features, found.own.live, config.random_sets, config.seed)
            yield set_effect(change, role, head.probe, head.reading, rows, *some)


def _features(
    crosscoder: Crosscoder,
    joint: JointReading,
    heads: Sequence[Head | None],
    found: _Changes,
    numbers: Ints,
    sae: SparseAutoencoder,
    config: DiffConfig,
) -> Iterator[DiffFeature]:
    """The features of each kind that changed most."""
    listed = [(kind, feature) for kind in CHANGES for feature in found.own.most(kind, config.features).tolist()]
    features = np.array([feature for _, feature in listed], np.int64)
    words = _words(joint, crosscoder.sae.config.positions, features)
    n_headlines = np.bincount(joint.firings.group_feature, minlength=crosscoder.d_sae)
    before, after = heads[_BEFORE], heads[_AFTER]
    assert after is not None
    for (kind, feature), typical in zip(listed, words, strict=True):
        alike, cosine = _nearest(crosscoder.directions(_AFTER)[feature], sae)
        yield DiffFeature(
            feature=feature,
            change=kind,
            growth=found.own.growth[feature],
            cosine=found.own.cosine[feature],
            control_growth=found.control and found.control.growth[feature],
            seed_growth=found.seeds and found.seeds.growth[feature],
            n_headlines=n_headlines[feature],
            words=typical,
            effects=after.effects[feature].tolist(),
            effects_before=before and before.effects[feature].tolist(),
            alike=alike,
            alike_cosine=cosine,
            examples=examples(crosscoder, joint, numbers, feature, config.examples, _BEFORE, _AFTER),
        )


def _nearest(direction: Tensor, sae: SparseAutoencoder) -> tuple[int, float]:
    """The feature of an SAE whose decoder row is most like a direction [d_model], and the cosine."""
    alike = torch.nn.functional.cosine_similarity(sae.W_dec, direction[None], dim=1)
    feature = int(alike.argmax())
    return feature, float(alike[feature])


def _words(joint: JointReading, positions: PositionKind, features: Ints) -> list[list[str]]:
    """The words on which each of some features fires more often than on others, the most typical first."""
    if positions in PER_HEADLINE:
        return [[] for _ in features]
    firings, headlines = joint.firings, joint.states[0].tokenized
    own = np.flatnonzero(np.isin(firings.group_feature, features))
    counts = WordCounts(int(features.max(initial=0)) + 1)
    texts = [word_texts(one.text, one.starts, one.ends, one.words) for one in headlines]
    counts.add(firings.take(own), 0, [one.words for one in headlines], texts)
    order = np.argsort(features)
    typical = counts.typical(features[order], _WORDS)
    return [[fired["word"] for fired in typical[place]] for place in np.argsort(order).tolist()]
