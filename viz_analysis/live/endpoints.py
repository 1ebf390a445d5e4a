"""`--live`: probe, intervene and flip any text with a run's own classifier and SAE.

One model is in memory and one thread asks it, whatever the number of clients; a bounded queue waits before it and
the rest is answered 429. Without `--live` nothing here loads torch, and the answer says how to turn it on.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from sae_pipeline.errors import UserError
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.live_types import (
    MAX_CHARACTERS,
    MAX_EDITS,
    MAX_VALUE,
    AuditAnswer,
    AuditBody,
    FlipAnswer,
    FlipBody,
    InterveneAnswer,
    InterveneBody,
    LiveAnswer,
    ProbeAnswer,
    ProbeBody,
)
from viz_analysis.api.types import ErrorAnswer
from viz_analysis.runs.library import RunLibrary
from viz_analysis.runs.sources import RunFolder
from viz_analysis.web.answers import error_answer, json_answer

if TYPE_CHECKING:
    from viz_analysis.live.live_model import LiveModel

PLACES = 8  # requests that may wait for the model
PATIENCE = 15.0  # seconds a request may wait and work
HOW = "Live probing is off; start the server with --live: python viz_analysis/feature_probe_server.py --live"

_ERRORS: dict[Any, Any] = {404: ErrorAnswer, 409: ErrorAnswer, 413: ErrorAnswer, 415: ErrorAnswer, 429: ErrorAnswer}


class LiveOffError(UserError):
    """The server runs without --live."""


class NoModelError(UserError):
    """The run's classifier or SAE cannot be loaded."""


class BadEditError(UserError):
    """The question does not fit the text or the SAE."""


class BusyError(UserError):
    """More requests than places."""


class GoneError(UserError):
    """The client has left."""


_STATUS: dict[type[UserError], tuple[int, str]] = {
    LiveOffError: (409, "live_off"),
    NoModelError: (409, "no_model"),
    BadEditError: (400, "bad_request"),
    BusyError: (429, "busy"),
    GoneError: (408, "client_gone"),
}


class Live:
    """The model of the run that was asked for last, and the queue before it."""

    def __init__(self, source: RunFolder, places: int = PLACES, patience: float = PATIENCE) -> None:
        """The weights are in `finbert_sae/` beside the runs."""
        self.places = places
        self._source = source
        self._patience = patience
        self._free = BoundedSemaphore(places + 1)
        self._worker = ThreadPoolExecutor(1, "live")  # torch keeps its threads and buffers per calling thread
        self._model: LiveModel | None = None

    @property
    def run_id(self) -> str | None:
        """The run in memory."""
        return self._model.run.run_id if self._model else None

    @property
    def device(self) -> str | None:
        """Where its model computes."""
        return self._model.device if self._model else None

    def load(self, run: RunMetadata) -> None:
        """Load a run's model now rather than at the first request. Raises NoModelError."""
        self._worker.submit(self._model_of, run).result()

    def ask(
        self, run: RunMetadata, question: Callable[["LiveModel"], BaseModel], gone: Callable[[], bool]
    ) -> BaseModel:
        """The model's answer, when its turn has come. Raises BusyError, BadEditError, NoModelError, GoneError."""
        if not self._free.acquire(blocking=False):
            raise BusyError(f"{self.places} requests are waiting for the model already; try again in a second.")
        job: Future[BaseModel] = self._worker.submit(self._answer, run, question, gone)
        job.add_done_callback(lambda _: self._free.release())
        try:
            return job.result(self._patience)
        except TimeoutError:
            job.cancel()
            raise BusyError(f"No answer within {self._patience:g} seconds; try again or with less.") from None

    def _answer(
        self, run: RunMetadata, question: Callable[["LiveModel"], BaseModel], gone: Callable[[], bool]
    ) -> BaseModel:
        if gone():
            raise GoneError("The client has left.")
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

            self._model = None  # the old one goes before the new one comes
            try:
                self._model = LiveModel(self._source, run)
            except UserError as error:
                raise NoModelError(str(error)) from error
        return self._model


def add_live(app: OpenAPI, runs: RunLibrary, live: Live | None) -> None:
    """The endpoints of this module; without `live` they say how to turn it on."""
    for kind in _STATUS:
        app.register_error_handler(kind, _refusal)
    app.extensions["live"] = live

    def ask(run: str | None, question: Callable[["LiveModel"], BaseModel]) -> Response:
        if live is None:
            raise LiveOffError(HOW)
        gone = request.environ.get("waitress.client_disconnected", lambda: False)
        return json_answer(live.ask(runs.get(run).metadata, question, gone))

    @app.get("/api/live", responses={200: LiveAnswer})
    def live_state() -> Response:
        """Whether texts can be probed live."""
        return json_answer(
            LiveAnswer(
                live=live is not None,
                message=None if live else HOW,
                run_id=live.run_id if live else None,
                device=live.device if live else None,
                max_characters=MAX_CHARACTERS,
                max_edits=MAX_EDITS,
                max_value=MAX_VALUE,
                places=live.places if live else 0,
            )
        )

    @app.post("/api/probe", responses={200: ProbeAnswer, **_ERRORS})
    def probe(body: ProbeBody) -> Response:
        """Read a text: probabilities, features, what each class owes to them."""
        return ask(body.run, lambda model: model.probe(body))

    @app.post("/api/intervene", responses={200: InterveneAnswer, **_ERRORS})
    def intervene(body: InterveneBody) -> Response:
        """Edit features of a text: probabilities before and after."""
        return ask(body.run, lambda model: model.intervene(body))

    @app.post("/api/flip", responses={200: FlipAnswer, **_ERRORS})
    def flip(body: FlipBody) -> Response:
        """The smallest set of features found whose change turns the prediction."""
        return ask(body.run, lambda model: model.flip(body))

    app.before_request(_refuse_other_bodies)

    @app.post("/api/audit", responses={200: AuditAnswer, **_ERRORS})
    def audit(body: AuditBody) -> Response:
        """Ablate a set of features in a part of the run: predictions before and after."""
        return ask(body.run, lambda model: model.audit(body))


def threads_for(app: Flask, threads: int) -> int:
    """Server threads: those that wait for the model must not be missing elsewhere."""
    live: Live | None = app.extensions["live"]
    return threads + (live.places + 1 if live else 0)


def _refusal(error: UserError) -> Response:
    status, code = _STATUS[type(error)]
    answer = error_answer(status, code, str(error))
    if status == 429:
        answer.headers["Retry-After"] = "1"
    return answer


def _refuse_other_bodies() -> Response | None:
    if (
        request.url_rule is not None
        and request.method == "POST"
        and not isinstance(request.get_json(silent=True), dict)
    ):
        return error_answer(400, "bad_request", "The body is no JSON object.")
    return None
