"""The verb explain: ask a language model what features fire on, test what it says, and write it into a run.

The model is shown headlines of the choosing half and tested on those of the testing half, as found names are. Each
answer is written at once, with a hash of everything that was asked. So the same command goes on where it was
interrupted, and asks nothing twice.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from sae_pipeline.analysis.blocks import read_blocks
from sae_pipeline.arrays import Flags
from sae_pipeline.artefacts.locks import locked_folder
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.config import ExplainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.explaining.endpoint import Endpoint, Message
from sae_pipeline.explaining.questions import (
    choice_in,
    detection_question,
    explain_question,
    explanation_in,
    fuzzing_question,
)
from sae_pipeline.explaining.shown import LEAST, FiringHeadlines, ShownHeadlines
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.intervals import share_difference
from sae_pipeline.naming.predicates import holds
from sae_pipeline.naming.sample import read_words
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.index import index_run
from sae_pipeline.runs.run_files import DamagedRunError, read_added
from sae_pipeline.schema.explanations import EXPLANATIONS, DetectionScore, Explanation, ExplanationsFile
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout

_CHARACTERS_PER_TOKEN = 3.5  # about, of English
_BY_METRIC = "mutual_information"  # the features that say most about the label come first


@dataclass(frozen=True)
class Plan:
    """What is to be asked: the features, in order, with the headlines that the model is shown."""

    endpoint: Endpoint
    config: ExplainConfig
    run: Run
    shown: list[ShownHeadlines]
    hashes: dict[int, str]  # of the questions about each feature
    old: dict[int, Explanation]  # what the run has already, also of other models; kept until there is a new answer

    @classmethod
    def of(cls, endpoint: Endpoint, config: ExplainConfig, run: Run, shown: list[ShownHeadlines]) -> "Plan":
        """Make a plan, and read which explanations the run has already."""
        hashes = {one.feature: prompt_hash(config, one) for one in shown}
        return cls(endpoint, config, run, shown, hashes, {one.feature: one for one in _explained(run)})

    def answers(self, explanations: Iterable[Explanation]) -> list[Explanation]:
        """The explanations that answer this plan's questions."""
        return [one for one in explanations if self.hashes.get(one.feature) == one.prompt_hash]

    @property
    def open(self) -> list[ShownHeadlines]:
        """The features that are still to be explained."""
        known = {one.feature for one in self.answers(self.old.values())}
        return [one for one in self.shown if one.feature not in known]

    def lines(self) -> list[str]:
        """An estimate of what the open questions cost."""
        asked, run_id = len(self.open), self.run.metadata.run_id
        answers = 3 * asked * self.config.max_answer_tokens
        characters = sum(_characters(explain_question(one)) for one in self.open)
        for question in (detection_question, fuzzing_question):
            characters += sum(_characters(question("x" * 80, one)[0]) for one in self.open)
        prompt = round(characters / _CHARACTERS_PER_TOKEN)
        lines = [
            f"{len(self.shown):,} features of {run_id}, of which {len(self.shown) - asked:,} are explained.",
            f"{asked:,} features, 3 questions each: about {prompt:,} tokens in, at most {answers:,} out, to "
            f"{self.config.model} at {self.endpoint.host}. The questions hold headlines of the run.",
        ]
        if self.config.price_in or self.config.price_out:
            cost = (prompt * self.config.price_in + answers * self.config.price_out) / 1e6
            lines.append(f"At {self.config.price_in:g} and {self.config.price_out:g} per million tokens: {cost:.2f}.")
        elif asked:
            lines.append("--price-in and --price-out (per million tokens) give the cost.")
        return lines


def plan(config: ExplainConfig, root: Path, device: torch.device) -> Plan:
    """Choose features and read the run's headlines again, to know where they fire. Nothing is sent.

    Raises UserError for a run that cannot be read, an address that is not valid, and features that are not in the SAE.
    """
    url = config.endpoint or os.environ.get("OPENAI_BASE_URL", "")
    if not url:
        raise UserError("There is no endpoint; give --endpoint http://host:port/v1 or set OPENAI_BASE_URL.")
    if not config.model:
        raise UserError("There is no model; give --model with the name that the endpoint knows.")
    endpoint = Endpoint.at(url, config.model, config.timeout)
    run = read_run(find_run(Layout(root).runs, config.run))
    features = _features(run, config)
    classifier, sae = present.run_parts(root, run.metadata, device)
    firing = FiringHeadlines(np.array(sorted(features), np.int64))
    split = Split(
        [p.text for p in run.prompts], [p.label for p in run.prompts], [p.headline_id for p in run.prompts], {}
    )
    with tqdm(total=len(split), desc="reading", unit="headline", delay=1, leave=False) as bar:
        for block in read_blocks(classifier, sae, split, range(len(split)), config.tokens_per_batch):
            firing.add(block)
            bar.update(len(block.ids))
    names = run.found_names
    above = {feature: names[feature].above if feature in names else 0.0 for feature in features}
    shown = [firing.shown(feature, above[feature], config.tests, config.seed) for feature in features]
    return Plan.of(endpoint, config, run, [one for one in shown if one.strongest])


def explain(plan: Plan) -> ExplanationsFile:
    """Ask the open questions and write `explanations.json` after each feature.

    If an answer contains no explanation, nothing is kept, and the next call asks again. Raises EndpointError; what
    was explained until then is written.
    """
    found = dict(plan.old)
    file = _file(plan.run, found)
    try:
        for shown in tqdm(plan.open, desc="explain", unit="feature"):
            explanation = _explained_feature(plan, shown)
            if explanation is not None:
                file = _keep(plan.run, found, explanation)
    finally:
        if found:
            index_run(plan.run.folder)
    return file


def _keep(run: Run, found: dict[int, Explanation], explanation: Explanation) -> ExplanationsFile:
    """Add an explanation to those found and to the file, with what another process has written there meanwhile."""
    with readable_os_errors(run.folder), locked_folder(run.folder):
        found.update((one.feature, one) for one in _explained(run))
        found[explanation.feature] = explanation
        file = _file(run, found)
        add_file(run, EXPLANATIONS, file.model_dump_json().encode())
    return file


def prompt_hash(config: ExplainConfig, shown: ShownHeadlines) -> str:
    """A hash of the model and of all that it is shown and asked of a feature, 12 hex characters."""
    asked = [
        config.model,
        config.max_answer_tokens,
        explain_question(shown),
        detection_question("", shown)[0],
        fuzzing_question("", shown)[0],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _explained_feature(plan: Plan, shown: ShownHeadlines) -> Explanation | None:
    config, endpoint = plan.config, plan.endpoint
    text = explanation_in(endpoint.ask(explain_question(shown), config.max_answer_tokens))
    if text is None:
        return None
    enough = min(len(shown.positive), len(shown.negative)) >= LEAST

    def tested(question: Callable[[str, ShownHeadlines], tuple[list[Message], list[bool]]]) -> DetectionScore | None:
        messages, right = question(text, shown)
        if not enough or min(sum(right), len(right) - sum(right)) < LEAST - 1:
            return None
        chosen = choice_in(endpoint.ask(messages, config.max_answer_tokens), len(right))
        return None if chosen is None else _score(chosen, right)

    return Explanation(
        feature=shown.feature,
        text=text,
        model=config.model,
        prompt_hash=plan.hashes[shown.feature],
        detection=tested(detection_question),
        fuzzing=tested(fuzzing_question),
        rule_detection=_rule_score(plan, shown) if enough else None,
    )


def _rule_score(plan: Plan, shown: ShownHeadlines) -> DetectionScore | None:
    """The found rule on the headlines of the detection test; None for a feature without a rule."""
    name = plan.run.found_names.get(shown.feature)
    if name is None or not name.rule:
        return None
    metadata, prompts = plan.run.metadata, plan.run.prompts
    headlines = [*shown.positive, *shown.negative]
    chosen = [
        holds(name.rule, one.tokens.text, read_words(one.tokens), metadata.labels[prompts[one.number].prediction])
        for one in headlines
    ]
    return _score(chosen, [n < len(shown.positive) for n in range(len(headlines))])


def _score(chosen: Sequence[bool], right: Sequence[bool]) -> DetectionScore:
    picked: Flags = np.array(chosen)
    fits: Flags = np.array(right)
    counts = ((picked & fits).sum(), fits.sum(), (picked & ~fits).sum(), (~fits).sum())
    differences = share_difference(*(np.array([n]) for n in counts))
    auroc, low, high = (round(0.5 + float(end[0]) / 2, 6) for end in differences)
    return DetectionScore(n=len(right), auroc=auroc, low=low, high=high)


def _features(run: Run, config: ExplainConfig) -> list[int]:
    """The features that are named, or those that say most about the label; only such as fire."""
    stats = run.feature_stats
    for feature in config.features:
        if feature >= stats.d_sae:
            raise UserError(f"There is no feature {feature}; this SAE has features 0 to {stats.d_sae - 1}.")
    if config.features:
        return list(dict.fromkeys(config.features))
    values = {column.name: column.values for column in stats.metrics}.get(_BY_METRIC, stats.headline_counts)
    order = np.argsort(-np.asarray(values, np.float64), kind="stable").tolist()
    return [feature for feature in order if stats.headline_counts[feature]][: config.max_features]


def _explained(run: Run) -> Iterator[Explanation]:
    """What the run has already; a file that is damaged or of another run has nothing."""
    with suppress(DamagedRunError):
        file = read_added(run.folder, EXPLANATIONS, ExplanationsFile)
        if file is not None and file.run_checksum == run.checksum:
            yield from file.explanations


def _file(run: Run, found: dict[int, Explanation]) -> ExplanationsFile:
    return ExplanationsFile(**made_from(run), explanations=[found[feature] for feature in sorted(found)])


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in messages)
