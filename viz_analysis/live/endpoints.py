"""The endpoints behind `--live`: probe, edit and flip any text with a run's own classifier and SAE.

Without `--live` nothing here loads torch, and the answers say how to turn it on.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from sae_pipeline.errors import command
from sae_pipeline.schema.edits import MAX_EDITS, MAX_VALUE
from viz_analysis.api.live_types import (
    MAX_CHARACTERS,
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
from viz_analysis.api.problems import LiveOffError
from viz_analysis.api.run_types import ErrorAnswer
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.run_library import RunLibrary
from viz_analysis.web.answers import json_answer

if TYPE_CHECKING:  # loads torch
    from viz_analysis.live.live_model import LiveModel

_SERVER = command("serve")
if "explorer" not in _SERVER:  # which alone has the verb
    _SERVER = "python viz_analysis/feature_probe_server.py"
HOW_TO_TURN_ON = f"This server has not loaded the run's classifier; start it with `{_SERVER} --live`."


def add_live(app: OpenAPI, runs: RunLibrary, live: ModelQueue | None) -> None:
    """Add the live endpoints to an app; without `live` they say how to turn it on."""
    app.extensions["live"] = live

    def ask(run: str | None, question: Callable[["LiveModel"], BaseModel]) -> Response:
        if live is None:
            raise LiveOffError(HOW_TO_TURN_ON)
        client_left = request.environ.get("waitress.client_disconnected", lambda: False)
        return json_answer(live.ask(runs.get(run).metadata, question, client_left))

    @app.get("/api/live", responses={200: LiveAnswer})
    def live_state() -> Response:
        """Whether texts can be probed live, and the limits of a request."""
        return json_answer(
            LiveAnswer(
                live=live is not None,
                message=None if live else HOW_TO_TURN_ON,
                run_id=live.run_id if live else None,
                device=live.device if live else None,
                max_characters=MAX_CHARACTERS,
                max_edits=MAX_EDITS,
                max_value=MAX_VALUE,
                places=live.max_waiting if live else 0,
            )
        )

    @app.post("/api/probe", responses=_or_error(ProbeAnswer))
    def probe(body: ProbeBody) -> Response:
        """Read a text: its probabilities, its features, and the effect of each feature on each class."""
        return ask(body.run, lambda model: model.probe(body, lambda features: runs.get(body.run).found_names(features)))

    @app.post("/api/intervene", responses=_or_error(InterveneAnswer))
    def intervene(body: InterveneBody) -> Response:
        """Edit features of a text: the probabilities before and after."""
        return ask(body.run, lambda model: model.intervene(body))

    @app.post("/api/flip", responses=_or_error(FlipAnswer))
    def flip(body: FlipBody) -> Response:
        """Search for the smallest set of features whose change changes the prediction."""
        return ask(body.run, lambda model: model.flip(body))

    @app.post("/api/audit", responses=_or_error(AuditAnswer))
    def audit(body: AuditBody) -> Response:
        """Ablate a set of features in a part of the run: the predictions before and after."""
        return ask(body.run, lambda model: model.audit(body))


def threads_for(app: Flask, threads: int) -> int:
    """How many threads the server needs so that `threads` are free while others wait for the model."""
    live: ModelQueue | None = app.extensions["live"]
    return threads + (live.max_waiting + 1 if live else 0)


def _or_error(answer: type[BaseModel]) -> dict[Any, Any]:
    """The answers of an endpoint in the API's description."""
    return {200: answer, **dict.fromkeys((404, 409, 413, 415, 429), ErrorAnswer)}
