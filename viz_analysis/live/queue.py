"""The queue in front of the live model: one thread asks the model, and a bounded number of requests wait for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from pydantic import BaseModel

from sae_pipeline.errors import UserError
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.problems import BadEditError, BusyError, ClientGoneError, NoModelError
from viz_analysis.runs.sources import RunFolder

if TYPE_CHECKING:  # loads torch
    from viz_analysis.live.live_model import LiveModel

MAX_WAITING = 8  # requests
TIMEOUT_SECONDS = 15.0  # for waiting and computing together


class ModelQueue:
    """The model of the run that was asked for last, and the requests that wait for it. Any thread may call it."""

    def __init__(
        self, source: RunFolder, max_waiting: int = MAX_WAITING, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """The weights are in `finbert_sae/` beside the runs of `source`; nothing is loaded yet."""
        self.max_waiting = max_waiting
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._free_places = BoundedSemaphore(max_waiting + 1)
        self._worker = ThreadPoolExecutor(1, "live")  # torch keeps threads and buffers for each thread that calls it
        self._model: LiveModel | None = None

    @property
    def run_id(self) -> str | None:
        """The run whose model is in memory."""
        return self._model.run.run_id if self._model else None

    @property
    def device(self) -> str | None:
        """The device on which the model in memory computes."""
        return self._model.device if self._model else None

    def load(self, run: RunMetadata) -> None:
        """Load a run's model now rather than at the first request. Raises NoModelError."""
        self._worker.submit(self._model_of, run).result()

    def ask(
        self, run: RunMetadata, question: Callable[["LiveModel"], BaseModel], client_left: Callable[[], bool]
    ) -> BaseModel:
        """The model's answer to a question, after those that wait already.

        A question is dropped if `client_left()` when its turn comes. Raises BusyError, BadEditError, NoModelError and
        ClientGoneError.
        """
        if not self._free_places.acquire(blocking=False):
            raise BusyError(f"{self.max_waiting} requests are waiting for the model already; try again in a second.")
        job: Future[BaseModel] = self._worker.submit(self._answer, run, question, client_left)
        job.add_done_callback(lambda _: self._free_places.release())
        try:
            return job.result(self._timeout_seconds)
        except TimeoutError:
            job.cancel()
            raise BusyError(f"No answer within {self._timeout_seconds:g} seconds; try again or with less.") from None

    def _answer(
        self, run: RunMetadata, question: Callable[["LiveModel"], BaseModel], client_left: Callable[[], bool]
    ) -> BaseModel:
        if client_left():
            raise ClientGoneError("The client has closed the connection.")
        model = self._model_of(run)
        try:
            return question(model)
        except UserError as error:
            raise BadEditError(str(error)) from error

    def _model_of(self, run: RunMetadata) -> "LiveModel":
        wanted = (run.classifier_hash, run.sae_hash, run.run_id)
        held = self._model and (self._model.run.classifier_hash, self._model.run.sae_hash, self._model.run.run_id)
        if self._model is None or held != wanted:
            from viz_analysis.live.live_model import LiveModel

            self._model = None  # frees the memory of the old model before the new one is loaded
            try:
                self._model = LiveModel(self._source, run)
            except UserError as error:
                raise NoModelError(str(error)) from error
        return self._model
