"""A run's classifier and SAE in memory, which answer about any text. Only this module of the server loads torch."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from sae_pipeline.activations.sites import Sites
from sae_pipeline.arrays import Floats
from sae_pipeline.causal.attribution import Attribution, ablate, attribute, clamp_effects, ranked_groups
from sae_pipeline.causal.edits import Edit, check_edits, edit_hidden, edited_features
from sae_pipeline.causal.flips import Hold, flip, holds
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.logits import centred, softmax
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, counted_mask, tokenize
from sae_pipeline.machine.device import pick_device
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.run import RunMetadata
from sae_pipeline.study import present
from viz_analysis.api.feature_types import FoundName
from viz_analysis.api.live_types import (
    AuditAnswer,
    AuditBody,
    EditedFeature,
    FlipAnswer,
    FlipBody,
    FlipStep,
    InterveneAnswer,
    InterveneBody,
    LiveAblation,
    LiveEdit,
    LiveFeature,
    LivePrediction,
    ProbeAnswer,
    ProbeBody,
)
from viz_analysis.runs.sources import RunFolder

TEXTS_KEPT = 32  # about 0.1 MB each
FLIP_SECONDS = 10.0  # for one search
NamesOf = Callable[[list[int]], dict[int, FoundName]]  # the found names of features
_WARM_UP = "Shares fall after the company cuts its outlook"


class TextError(UserError):
    """The text cannot be read by this classifier."""


@dataclass
class _TextRead:
    """A text that was read, and what has been computed from it since."""

    headline: TokenizedHeadline
    reading: Reading
    attributions: dict[int, Attribution] = field(default_factory=dict)  # by steps


class LiveModel:
    """The model of one run. It is not thread-safe: `ModelQueue` calls it from one thread."""

    def __init__(self, source: RunFolder, run: RunMetadata, device: str | None = None) -> None:
        """Load classifier and SAE from beside the runs and check their hashes.

        Raises UserError where one of them is missing or has changed.
        """
        self.run = run
        self._source = source
        classifier, sae = present.run_parts(source.study(run), run, pick_device(device))
        self._classifier: Classifier = classifier
        self._probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
        self._read: OrderedDict[str, _TextRead] = OrderedDict()
        self.probe(ProbeBody(text=_WARM_UP, steps=1, ablate=1))

    @property
    def device(self) -> str:
        """The device on which the model computes."""
        return str(self._probe.sae.W_dec.device)

    def probe(self, body: ProbeBody, names_of: NamesOf = lambda _: {}) -> ProbeAnswer:
        """The prediction for a text and the effects of its features, with their found names. Raises TextError."""
        started = time.perf_counter()
        read = self._reading(body.text)
        attribution = self._attribution(read, body.steps)
        reading, headline = read.reading, read.headline
        effects = attribution.by_feature(reading.firings)
        groups = ranked_groups(reading, "attribution", effects)[0][: body.top]
        ablations = self._ablations(reading, groups[: body.ablate])
        logits = centred(reading.logits)[0]
        base = attribution.base[0] if body.steps else None
        listed = [
            self._feature(read, attribution, group, effects[group], ablations.get(group)) for group in groups.tolist()
        ]
        return ProbeAnswer(
            **_prediction(reading.logits[0]),
            **self._run,
            **{name: getattr(headline, name) for name in ("text", "tokens", "starts", "ends", "words")},
            n_active=len(effects),
            estimate="integrated" if body.steps else "gradient",
            base=None if base is None else base.tolist(),
            rest=None if base is None else (logits - base - effects[groups].sum(0)).tolist(),
            features=listed,
            found_names=names_of([one.feature for one in listed]),
            spliced=self._spliced(reading) if body.steps else None,
            token_effects=[0.0] * len(headline.tokens)
            if self._whole
            else np.bincount(
                reading.firings.position,
                attribution.integrated[:, int(reading.logits[0].argmax())],
                len(headline.tokens),
            ).tolist(),
            milliseconds=_since(started),
        )

    def intervene(self, body: InterveneBody) -> InterveneAnswer:
        """The probabilities before and after edits. Raises TextError, and UserError for edits that do not fit."""
        started = time.perf_counter()
        read = self._reading(body.text)
        edits = [_edit(edit, row if body.separately else 1) for row, edit in enumerate(body.edits, 1)]
        # Row 0 stays as it is, so that before and after come from one pass.
        rows = np.zeros(1 + (len(edits) if body.separately else 1), np.int64)
        hidden, input_ids, mask = read.reading.padded(rows)
        counted = counted_mask([read.headline], self._probe.sae.config.positions).to(hidden.device)
        counted = counted.expand(len(rows), -1)
        with torch.inference_mode():
            edited = edit_hidden(hidden, counted, self._probe.sae, edits)
            before, *after = self._probe.tail(edited, input_ids, mask).cpu().double().numpy()
        return InterveneAnswer(
            **self._run,
            before=LivePrediction(**_prediction(before)),
            after=[LivePrediction(**_prediction(row)) for row in after],
            edited=[] if body.separately else self._edited(hidden, counted, edits),
            milliseconds=_since(started),
        )

    def flip(self, body: FlipBody) -> FlipAnswer:
        """The smallest set of features found whose change changes the prediction. Raises TextError."""
        started = time.perf_counter()
        read = self._reading(body.text)
        attribution = self._attribution(read, 0)
        reading = read.reading
        labels = self.run.labels
        if body.target is not None and body.target >= len(labels):
            raise UserError(f"There is no class {body.target}; the classifier has classes 0 to {len(labels) - 1}.")
        before = _prediction(reading.logits[0])
        if body.target == before["prediction"]:
            raise UserError(f"The prediction is {labels[before['prediction']]} already; choose another target.")
        effects = clamp_effects(attribution, reading.firings, body.level)
        subject = (self._probe, reading, effects, [0], [body.target])
        size, level = body.max_size, body.level
        (found,) = flip(*subject, max_size=size, level=level, patience=FLIP_SECONDS)
        groups = found.groups if found else []
        goal = "the prediction" if body.target is None else f"the prediction to {labels[body.target]}"
        return FlipAnswer(
            **self._run,
            found=found is not None,
            message=f"{_change(len(groups), body.level)} changes {goal}."
            if found
            else _unflipped(holds(*subject, size, level)[0], body, goal, labels),
            before=LivePrediction(**before),
            steps=[
                FlipStep(
                    feature=int(reading.firings.group_feature[group]),
                    word=self._word(read, group),
                    after=LivePrediction(**_prediction(row)),
                )
                for group, row in zip(groups, found.logits[1:] if found else (), strict=True)
            ],
            milliseconds=_since(started),
        )

    def audit(self, body: AuditBody) -> AuditAnswer:
        """The predictions for the run's headlines from `offset` on, before and after an ablation. Raises UserError."""
        started = time.perf_counter()
        check_edits([Edit(feature) for feature in body.features], self._probe.sae.config.d_sae)
        prompts = self._prompts
        part = prompts[body.offset : body.offset + body.limit]
        if not part:
            raise UserError(f"The run ends at headline {len(prompts):,}; ask for an earlier part.")
        reading = self._probe.read(self._classifier.tokenize([text for text, _ in part]))
        hit = np.flatnonzero(np.isin(reading.firings.group_feature, body.features))
        rows = np.unique(reading.firings.group_headline[hit])
        sets = [hit[reading.firings.group_headline[hit] == row] for row in rows]
        before = reading.logits.argmax(1)
        after = before.copy()
        if len(rows):
            after[rows] = self._probe.logits(reading, Variants.of_groups(reading.firings, rows, sets)).argmax(1)
        return AuditAnswer(
            run_id=self.run.run_id,
            features=body.features,
            offset=body.offset,
            n_headlines=len(prompts),
            labels=[label for _, label in part],
            before=before.tolist(),
            after=after.tolist(),
            n_fired=len(rows),
            milliseconds=_since(started),
        )

    def _edited(self, hidden: Tensor, counted: Tensor, edits: list[Edit]) -> list[EditedFeature]:
        ids, before, after = (t.cpu() for t in edited_features(hidden, counted, self._probe.sae, edits))
        positions = Sites.of_mask(counted[:1], self._probe.sae.config.positions).position.cpu()
        before, after = before[len(positions) :], after[len(positions) :]  # of row 1
        result = []
        for feature, old, new in zip(ids.tolist(), before.T, after.T, strict=True):
            fires = (old > 0) | (new != 0)
            places, f, f_new = (t[fires].tolist() for t in (positions, old, new))
            result.append(EditedFeature(feature=feature, positions=places, before=f, after=f_new))
        return result

    # --- parts of answers ---

    @property
    def _whole(self) -> bool:
        """Whether features fire on a text as a whole, and so on none of its tokens."""
        return self._probe.sae.config.positions in PER_HEADLINE

    @property
    def _run(self) -> dict[str, Any]:
        return {"run_id": self.run.run_id, "labels": self.run.labels}

    @cached_property
    def _prompts(self) -> list[tuple[str, int]]:
        """The text and the true class of each headline of the run."""
        lines = (self._source.find(self.run.run_id) / "prompts.jsonl").read_bytes().splitlines()
        records = map(orjson.loads, lines)
        return [(record["text"], record["label"]) for record in records]

    def _reading(self, text: str) -> _TextRead:
        """A text read up to the hookpoint. The last texts are kept, because people edit the same text many times."""
        if text in self._read:
            self._read.move_to_end(text)
            return self._read[text]
        limit = self._classifier.record.max_length
        strip = self._classifier.record.headlines.strip_links
        headline = tokenize(self._classifier.tokenizer, [text], 1 << 20, strip)[0]
        if len(headline.input_ids) > limit:
            raise TextError(
                f"The text has {len(headline.input_ids):,} tokens; the classifier reads {limit}: shorten it."
            )
        if not headline.counted("words"):
            raise TextError("The text has no word that the classifier reads; write a headline.")
        read = self._read[text] = _TextRead(headline, self._probe.read([headline], logits=False))
        while len(self._read) > TEXTS_KEPT:
            self._read.popitem(last=False)
        return read

    def _attribution(self, read: _TextRead, steps: int) -> Attribution:
        """The attribution of a text, which is computed once for each number of steps and brings the logits with it."""
        if steps not in read.attributions:
            read.attributions[steps] = attribute(self._probe, read.reading, steps)
            read.reading = replace(read.reading, logits=read.attributions[steps].logits)
        return read.attributions[steps]

    def _ablations(self, reading: Reading, groups: Any) -> dict[int, LiveAblation]:
        if not len(groups):
            return {}
        true = ablate(self._probe, reading, groups)
        after = centred(reading.logits)[0] - true.logits
        return {
            group: LiveAblation(
                logits=true.logits[i].tolist(),
                probabilities=true.probabilities[i].tolist(),
                prediction=int(after[i].argmax()),
            )
            for i, group in enumerate(groups.tolist())
        }

    def _spliced(self, reading: Reading) -> LivePrediction:
        rebuilt = self._probe.rebuilt(reading)
        return LivePrediction(**_prediction(self._probe.replaced_logits(reading, rebuilt)[0]))

    def _feature(
        self, read: _TextRead, attribution: Attribution, group: int, effects: Floats, ablation: LiveAblation | None
    ) -> LiveFeature:
        firings = read.reading.firings
        start = firings.group_start[group]
        on_tokens = 0 if self._whole else firings.group_length[group]
        entries = slice(start, start + on_tokens)
        position = int(firings.position[firings.group_argmax[group]])
        token, word = read.headline.fired_on(position, self._probe.sae.config.positions)
        return LiveFeature(
            feature=int(firings.group_feature[group]),
            activation=float(firings.group_max[group]),
            position=position,
            token=token,
            word=word,
            positions=firings.position[entries].tolist(),
            values=firings.value[entries].tolist(),
            effects=effects.tolist(),
            position_effects=attribution.integrated[entries, int(read.reading.logits[0].argmax())].tolist(),
            ablation=ablation,
        )

    def _word(self, read: _TextRead, group: int) -> str:
        firings = read.reading.firings
        position = int(firings.position[firings.group_argmax[group]])
        return read.headline.fired_on(position, self._probe.sae.config.positions)[1]


def _edit(edit: LiveEdit, row: int | None) -> Edit:
    positions = None if edit.positions is None else tuple(edit.positions)
    return Edit(edit.feature, edit.operation, edit.value, row, positions)


def _unflipped(hold: Hold, body: FlipBody, goal: str, labels: Sequence[str]) -> str:
    """A sentence that says what holds a prediction."""
    if hold.n_needed is not None:
        why = f"it takes {hold.n_needed} in the order of their estimated effects"
    else:
        change = "ablated" if body.level == 0 else f"set to {body.level:g}"
        place = "it is {} logits ahead" if body.target is None else f"{labels[body.target]} is {{}} logits behind"
        why = (
            f"even with all features {change}, {place.format(f'{hold.margin:.2f}')}, "
            "because of what the SAE does not reconstruct and of its bias"
        )
    return f"No set of up to {body.max_size} features was found that changes {goal}: {why}."


def _change(n_features: int, level: float) -> str:
    features = f"{n_features} feature{'s' * (n_features != 1)}"
    return f"Ablating {features}" if level == 0 else f"Setting {features} to {level:g}"


def _prediction(logits: Floats) -> dict[str, Any]:
    """The fields of LivePrediction, from logits [n_classes]."""
    return {
        "prediction": int(logits.argmax()),
        "probabilities": softmax(logits).tolist(),
        "logits": centred(logits).tolist(),
    }


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 2)
