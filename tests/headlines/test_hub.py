"""Data sets on the hub, and a hub that does not answer."""

import errno
from collections.abc import Callable
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.headlines.dataset import load_headlines
from tests.support.tables import ROWS, Rows, everything, pairs


def hub_of(**splits: Any) -> Callable[[str], Any]:
    """What loads a data set by name: the same splits for each."""
    return lambda name: DatasetDict(splits)


def rows_of(rows: Rows, names: list[str] | None = None) -> Any:
    """A split of the hub; `names` are those of its classes, if it has any."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=names) if names else Value("int64")})
    return Dataset.from_dict({"text": [t for t, _ in rows], "label": [y for _, y in rows]}, features=features)


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers."""

    class Session:
        def head(self, *args: Any, **kwargs: Any) -> None: ...

    monkeypatch.setattr("huggingface_hub.get_session", Session)


def test_hub_splits_and_named_classes(monkeypatch: pytest.MonkeyPatch, reachable: None) -> None:
    """'train' and 'validation' are read; numbers of named classes mean their names, not our order."""
    hub = hub_of(train=rows_of(ROWS[:60]), validation=rows_of(ROWS[60:]))
    monkeypatch.setattr("datasets.load_dataset", hub)
    headlines = load_headlines(HeadlinesConfig())
    assert pairs(headlines.test) == list(ROWS[60:])
    assert everything(headlines) == dict(ROWS)
    names = ["Neutral", "Bullish", "negative"]
    turned = [(t, names.index((["negative", "Bullish", "Neutral"])[y])) for t, y in ROWS]
    hub = hub_of(train=rows_of(turned[:60], names), validation=rows_of(turned[60:], names))
    monkeypatch.setattr("datasets.load_dataset", hub)
    assert everything(load_headlines(HeadlinesConfig(label_map="negative=Bearish"))) == dict(ROWS)


def test_hub_without_the_split_or_the_columns(monkeypatch: pytest.MonkeyPatch, reachable: None) -> None:
    """One sentence names what the data set has instead."""
    monkeypatch.setattr("datasets.load_dataset", hub_of(train=rows_of(ROWS), testing=rows_of(ROWS)))
    with pytest.raises(UserError, match="no split 'validation' but train, testing"):
        load_headlines(HeadlinesConfig())
    monkeypatch.setattr("datasets.load_dataset", hub_of(train=rows_of(ROWS), validation=rows_of(ROWS)))
    with pytest.raises(UserError, match="no column 'title' but text, label"):
        load_headlines(HeadlinesConfig(text_column="title"))


def test_missing_hub_is_asked_once_and_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short question to the hub, then offline: the message names the offline preset and the flag for a file."""
    timeouts: list[float] = []
    offline: list[bool] = []
    load_dataset = datasets.load_dataset

    class Session:
        def head(self, url: str, timeout: float) -> None:
            timeouts.append(timeout)
            raise OSError("no route")

    def loading(name: str) -> Any:
        offline.append(datasets.config.HF_HUB_OFFLINE)
        return load_dataset(name)

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_session", Session)
    monkeypatch.setattr("datasets.load_dataset", loading)
    with pytest.raises(UserError, match=r"no copy was downloaded before.*--preset demo.*--source FILE") as caught:
        load_headlines(HeadlinesConfig(source="someone/no-such-data-set"))
    assert len(timeouts) == 1 and timeouts[0] <= 10
    assert offline == [True] and not datasets.config.HF_HUB_OFFLINE
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch, reachable: None) -> None:
    """The download's error is one sentence, which says what to do about the disk and not about the hub."""

    def loading(name: str) -> None:
        raise datasets.exceptions.DatasetGenerationError("not generated") from OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("datasets.load_dataset", loading)
    with pytest.raises(ResourceError, match="the disk is full; free some space"):
        load_headlines(HeadlinesConfig())
