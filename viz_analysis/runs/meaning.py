"""The search by meaning: which headlines and features of a run are nearest to a text.

The sentence encoder, and the vectors of a run, are loaded or made in the background when they are first asked for. A
request waits a few seconds for them and is then told to ask again.
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.analysis.meaning import Encoder, Meaning, make_meaning
from sae_pipeline.arrays import Flags
from viz_analysis.api.feature_types import NearestExample
from viz_analysis.api.problems import PreparingError
from viz_analysis.runs.reader import RunReader

MOST = 100
"""How many headlines or features a search by meaning finds at most."""

Similar = NDArray[np.float32]
"""How alike each headline or feature is to a text: see `sae_pipeline.analysis.meaning.Meaning`."""

_PATIENCE = 5.0  # seconds that a request waits
_KEPT_TEXTS = 64
Made = TypeVar("Made")


class _Once(Generic[Made]):
    """Something that is made in the background when it is first asked for, and again where that failed."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._result: Future[Made] | None = None
        self._lock = Lock()

    def get(self, seconds: float | None) -> Made | None:
        """What is made; None where it is not ready within some seconds, and None seconds wait for it."""
        with self._lock:
            if self._result is None or (self._result.done() and self._result.exception()):
                self._result = Future()
                Thread(target=self._run, args=(self._result,), daemon=True).start()
            result = self._result
        return result.result() if wait([result], seconds).done else None

    def _run(self, result: "Future[Made]") -> None:
        try:
            result.set_result(self._make())
        except Exception as error:  # raised in the threads that wait
            result.set_exception(error)


class SharedEncoder:
    """The sentence encoder of all runs. torch is loaded with it, so not before a search by meaning."""

    def __init__(self) -> None:
        self._encoder = _Once(_load_encoder)
        self.vector = lru_cache(_KEPT_TEXTS)(self._vector)

    def get(self) -> Encoder:
        """The encoder, however long it takes. Raises NoEncoderError."""
        encoder = self._encoder.get(None)
        assert encoder is not None
        return encoder

    def _vector(self, text: str) -> NDArray[np.float32]:
        """The vector of a text, [width]."""
        vector: NDArray[np.float32] = self.get().encode([text])[0]
        return vector


class RunMeaning:
    """The vectors of one run. `place` is the folder that they are kept in: that of the run's index."""

    def __init__(self, folder: Path, place: Path, encoder: SharedEncoder) -> None:
        self._folder, self._place, self._encoder = folder, place, encoder
        self._progress = (0, 1)  # headlines done, headlines in all
        self._meaning = _Once(self._make)

    def alike_headlines(self, text: str) -> Similar:
        """The cosine of every headline with a text. Raises NoEncoderError and `PreparingError`."""
        return self._ready().alike_headlines(self._encoder.vector(text))

    def alike_features(self, text: str) -> Similar:
        """How alike every feature is to a text; 0 for features without examples. Raises like `alike_headlines`."""
        return self._ready().alike_features(self._encoder.vector(text))

    def nearest_example(self, run: RunReader, feature: int, text: str) -> NearestExample | None:
        """The saved example of a feature whose headline is nearest to a text; None where none was saved."""
        headlines = run.example_headlines(feature)
        if not headlines:
            return None
        similar = self._ready().headlines[headlines].astype(np.float32) @ self._encoder.vector(text)
        best = int(similar.argmax())
        prompt = run.prompt(headlines[best])
        return NearestExample.model_construct(
            headline=headlines[best], text=prompt.text, similarity=round(float(similar[best]), 4)
        )

    def _ready(self) -> Meaning:
        meaning = self._meaning.get(_PATIENCE)
        if meaning is None:
            done, total = self._progress
            raise PreparingError(
                f"The headlines of {self._folder.name} are being read for the search by meaning, once for this run "
                f"({done / total:.0%}); ask again in a moment."
            )
        return meaning

    def _make(self) -> Meaning:
        return make_meaning(self._folder, self._encoder.get(), self._place, self._advance)

    def _advance(self, done: int, total: int) -> None:
        self._progress = (done, total)


def nearest(similar: Similar, inside: Flags) -> Flags:
    """The `MOST` of the headlines or features in a mask that are most alike; none without any likeness."""
    found = np.flatnonzero(inside & (similar > 0))
    found = found[np.argsort(-similar[found], kind="stable")[:MOST]]
    mask = np.zeros(len(similar), bool)
    mask[found] = True
    return mask


def _load_encoder() -> Encoder:
    from sae_pipeline.classifier.sentences import SentenceEncoder

    return SentenceEncoder()
