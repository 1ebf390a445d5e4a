"""The verb explain against a local endpoint that answers rightly, nonsense, 429, never, and without end."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_pipeline.config import ExplainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.explaining.endpoint import Endpoint
from sae_pipeline.explaining.explain import Plan, explain, plan
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.explanations import EXPLANATIONS
from tests.conftest import SmallStudy
from tests.support.command_process import Commands, command_process
from tests.support.endpoint import KEY, StandIn, stand_in
from tests.support.indexed_runs import client_of, get

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study."""
    return Path(shutil.copytree(study.root, tmp_path_factory.mktemp("explained") / "study"))


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with command_process({**os.environ, "TQDM_DISABLE": "1", "OPENAI_API_KEY": KEY}) as process:
        yield process


@pytest.fixture
def served() -> Iterator[StandIn]:
    with stand_in() as state:
        yield state


@pytest.fixture(scope="module")
def read(root: Path) -> Plan:
    """A plan for three features, made once; nothing is at its address."""
    config = ExplainConfig(endpoint="http://127.0.0.1:9/v1", model="m", max_features=3)
    return plan(config, root, CPU)


def planned(read: Plan, served: StandIn, timeout: float = 10.0, n: int = 3, model: str = "m") -> Plan:
    """The plan for the first n of these features, with what the run has by now, for an endpoint that is there."""
    endpoint = Endpoint.at(served.address, model, timeout)
    return Plan.of(endpoint, read.config.model_copy(update={"model": model}), read.run, read.shown[:n])


def test_a_right_answer_is_scored_beside_the_found_rule_and_never_asked_again(
    root: Path, read: Plan, served: StandIn
) -> None:
    first = planned(read, served, n=1)
    (shown,) = first.shown
    served.right = {text for one in shown.positive for text in (one.plain, one.marked(one.fired_words))}
    served.busy = 2
    file = explain(first)
    (one,) = file.explanations
    assert one.text == "headlines about falling prices"
    assert one.detection and one.detection.auroc == 1.0 and one.detection.low > 0.5
    assert one.fuzzing and one.fuzzing.auroc == 1.0
    assert one.rule_detection and one.rule_detection.n == one.detection.n
    assert len(served.asked) == 3 + 2
    again = planned(read, served, n=1)
    assert again.open == [] and explain(again) == file and len(served.asked) == 5
    assert len(planned(read, served, n=1, model="other").open) == 1
    client = client_of(root / "analysis_data")
    assert get(client, "feature_info", id=one.feature)["explanation"]["text"] == "headlines about falling prices"
    assert get(client, "features", q="About Falling")["total"] == 1


def test_headlines_of_the_testing_half_are_not_shown_to_explain(read: Plan) -> None:
    for shown in read.shown:
        explaining = {one.number for one in (*shown.strongest, *shown.silent)}
        tested = {one.number for one in (*shown.positive, *shown.negative)}
        assert explaining and tested and not explaining & tested
        assert all(one.positions for one in (*shown.strongest, *shown.positive))
        assert not any(one.positions for one in (*shown.silent, *shown.negative))


def test_nonsense_is_no_explanation_and_wrong_lists_are_no_scores(read: Plan, served: StandIn) -> None:
    explain(planned(read, served, n=1, model="kept"))
    served.mode = "nonsense"
    before = planned(read, served, model="mad")
    assert explain(before).explanations == sorted(before.old.values(), key=lambda one: one.feature)  # nothing is lost
    assert len(planned(read, served, model="mad").open) == 3
    served.mode, served.explanation = "right", "<img src=x onerror=alert(1)>"
    served.right = set()
    found = explain(planned(read, served, model="mad")).explanations
    assert [one.text for one in found] == ["<img src=x onerror=alert(1)>"] * 3
    assert all(one.detection and one.detection.auroc == 0.5 for one in found)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("never", r"does not answer within 0\.4 s; raise --timeout"),
        ("forever", r"does not answer within 0\.4 s; raise --timeout"),
        ("head", r"does not answer within 0\.4 s; raise --timeout"),
        ("moved", "answers with status 302; give --endpoint the address that it points to"),
        ("huge", "sends more than 1 MiB for one answer"),
        ("busy", r"answers with status 429 \(too many\); wait and run the same command again"),
        ("later", "is busy and asks to wait 3,600 s"),
        ("refused", r"answers with status 401 \(no key\); set OPENAI_API_KEY"),
    ],
)
def test_an_endpoint_that_fails_ends_in_one_sentence(read: Plan, served: StandIn, mode: str, sentence: str) -> None:
    served.mode = mode
    with pytest.raises(UserError, match=sentence):
        explain(planned(read, served, model=mode, timeout=10.0 if mode == "huge" else 0.4))


def test_a_key_that_cannot_be_sent_is_not_shown(served: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line end behind the key, as files have it, is no part of it."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\n")
    assert Endpoint.at(served.address, "m", 10.0).ask([{"role": "user", "content": "x"}], 16)
    assert served.keys == {f"Bearer {KEY}"}
    monkeypatch.setenv("OPENAI_API_KEY", f"“{KEY}”")
    with pytest.raises(UserError, match="OPENAI_API_KEY has letters that no key has") as refused:
        Endpoint.at(served.address, "m", 10.0)
    assert KEY not in str(refused.value)


def test_what_was_explained_before_a_failure_is_kept(read: Plan, served: StandIn) -> None:
    begun = planned(read, served, n=3, model="fails")
    answer = StandIn.content

    def failing(self: StandIn, body: dict[str, object]) -> str:
        if len(self.asked) == 5:
            self.mode = "refused"
        return answer(self, body)

    served.content = failing.__get__(served)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="401"):
        explain(begun)
    served.mode = "right"
    del served.__dict__["content"]
    rest = planned(read, served, n=3, model="fails")
    assert len(rest.open) == 2
    assert len(explain(rest).explanations) == 3


def test_two_at_once_keep_the_answers_of_both(read: Plan, served: StandIn) -> None:
    first, second = (planned(read, served, model="both") for _ in range(2))
    parts = [replace(first, shown=first.shown[:1]), replace(second, shown=second.shown[1:])]
    with ThreadPoolExecutor() as pool:
        list(pool.map(explain, parts))
    assert planned(read, served, model="both").open == []


def test_the_command_says_what_it_would_ask_and_asks_with_yes(root: Path, commands: Commands, served: StandIn) -> None:
    flags = ("--root", root, "--endpoint", served.address, "--model", "cli", "--max-features", 2)
    done = commands("explain", *flags, "--price-in", 1, "--price-out", 2)
    assert done.code == 2 and done.error == "error: Nothing was sent; add --yes to ask these questions."
    assert "2 features, 3 questions each: about " in done.out and "per million tokens: 0.0" in done.out
    assert served.asked == []
    done = commands("explain", *flags, "--yes")
    assert done.code == 0 and "explanations: 2 of 2 features" in done.out, done.err
    assert served.keys == {f"Bearer {KEY}"}
    written = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".pt")
    assert KEY.encode() not in written and read_run(max((root / "analysis_data").glob("*_run-*")))
    assert commands("verify", "--root", root).code == 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((), "There is no endpoint; give --endpoint"),
        (("--endpoint", "ftp://x", "--model", "m"), "is no address of an endpoint"),
        (("--endpoint", "http://[x/v1", "--model", "m"), "is no address of an endpoint"),
        (("--endpoint", "http://x:port/v1", "--model", "m"), "is no address of an endpoint"),
        (("--endpoint", "http://me:secret@x/v1", "--model", "m"), "put the key into OPENAI_API_KEY"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "There is no model; give --model"),
        (("--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--features", "99999"), "There is no feature 99999"),
    ],
)
def test_a_wrong_flag_ends_in_one_sentence(
    root: Path, commands: Commands, flags: tuple[str, ...], sentence: str
) -> None:
    done = commands("explain", "--root", root, "--yes", *flags)
    assert done.code == 2 and sentence in done.error


def test_a_damaged_file_of_explanations_is_made_again(root: Path, read: Plan, served: StandIn) -> None:
    run = max((root / "analysis_data").glob("*_run-*"))
    (run / EXPLANATIONS).write_bytes(b'{"explanations":[]}')
    sentences = get(client_of(root / "analysis_data"), "run")["damaged_files"]
    assert len(sentences) == 1 and "explain --run run-001` makes it again." in sentences[0]
    assert len(explain(planned(read, served, n=2)).explanations) == 2
    assert get(client_of(root / "analysis_data"), "run")["damaged_files"] == []
