"""The server behind the viewer: the runs of `analysis_data/` as a JSON API.

    python viz_analysis/feature_probe_server.py --host 127.0.0.1 --port 8765 [--run-id 34] [--live]

Without `--run-id` it answers from the latest run there is when it is asked; `?run=` names any other.
`create_app` makes the WSGI application, which any other WSGI server can serve too. Endpoints that are not about
reading runs live in modules of their own with a function `register(app, runs)`, called by `create_app`.
"""

import argparse
import contextlib
import errno
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import waitress
from flask import Flask, Response
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from sae_pipeline import __version__
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import UnknownRunError
from sae_pipeline.runs.index import shown_progress
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.types import (
    CompareAnswer,
    CompareQuery,
    Confusion,
    ConfusionQuery,
    ErrorAnswer,
    FeatureDensity,
    FeatureInfo,
    FeatureInfoQuery,
    FeaturesPage,
    FeaturesQuery,
    HeadlinesPage,
    HeadlinesQuery,
    HealthAnswer,
    InterventionsAnswer,
    LabelsSeen,
    RunQuery,
    RunsAnswer,
    SimilarHeadlines,
    SimilarHeadlinesQuery,
)
from viz_analysis.live.endpoints import Live, add_live, threads_for
from viz_analysis.runs.comparison import compare_runs
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.runs.labels import LabelsAnswer, LabelsChange, LabelStore
from viz_analysis.runs.library import RunLibrary
from viz_analysis.runs.sources import RunFolder, run_source
from viz_analysis.web.access_log import log_requests
from viz_analysis.web.answers import bad_query, error_answer, json_answer, seen_etags, set_rules
from viz_analysis.web.viewer_files import viewer_blueprint

ROOT = Path(__file__).resolve().parent.parent
_EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 0}
NO_RUN: dict[Any, Any] = {404: ErrorAnswer, 409: ErrorAnswer}
NO_CHANGE: dict[Any, Any] = dict.fromkeys((403, 412, 413, 415, 428, 503), ErrorAnswer)


def create_app(
    analysis_dir: Path | RunFolder,
    run_id: str | None = None,
    host: str = "127.0.0.1",
    viewer_dir: Path = ROOT / "sae-viewer" / "dist",
    live: Live | None = None,
    access_log: str | None = None,
) -> OpenAPI:
    """The API over the runs in `analysis_dir`, and the built viewer of `viewer_dir` at `/`.

    `run_id` pins the run that answers where a request names none; the default is the latest. `host` is the
    name by which the server is reached besides localhost. Runs are read when they are asked for. `live` answers about
    texts that are in no run. `access_log` is a file, or "-", that gets a line of JSON per request.
    """
    source = analysis_dir if isinstance(analysis_dir, RunFolder) else RunFolder(analysis_dir)
    runs = RunLibrary(source, run_id)
    app = OpenAPI(
        "feature_probe_server",
        static_folder=None,
        info=Info(title="FinBERT SAE Explorer", version=__version__),
        security_schemes={},
        doc_ui=False,
        operation_id_callback=lambda name, path, method: name,
        validation_error_status=400,
        validation_error_model=ErrorAnswer,
        validation_error_callback=bad_query,
        responses={400: ErrorAnswer},
    )
    if access_log:
        log_requests(app, access_log)
    set_rules(app, host)
    labels = LabelStore(source)
    app.extensions |= {"runs": runs, "labels": labels}
    app.register_blueprint(viewer_blueprint(viewer_dir))

    @app.get("/api/headlines", responses={200: HeadlinesPage, **NO_RUN})
    def headlines(query: HeadlinesQuery) -> Response:
        """Headlines with prediction, label and strongest features."""
        return json_answer(runs.ask(query.run, lambda run: run.headlines(query)))

    @app.get("/api/confusion", responses={200: Confusion, **NO_RUN})
    def confusion(query: ConfusionQuery) -> Response:
        """The headlines that match the filters, counted by true label and prediction."""
        return json_answer(runs.ask(query.run, lambda run: run.confusion(query)))

    @app.get("/api/features", responses={200: FeaturesPage, **NO_RUN})
    def features(query: FeaturesQuery) -> Response:
        """Features in descending order of a metric."""
        names = labels.names(runs.get(query.run).metadata.sae_hash) if query.q or query.labelled is not None else {}
        return json_answer(runs.ask(query.run, lambda run: run.features(query, names)))

    @app.get("/api/feature_info", responses={200: FeatureInfo, **NO_RUN})
    def feature_info(query: FeatureInfoQuery) -> Response:
        """A feature's statistics and its strongest tokens in context."""
        return json_answer(runs.ask(query.run, lambda run: run.feature_info(query.id, runs.newest_by_sae)))

    @app.get("/api/feature_density", responses={200: FeatureDensity, **NO_RUN})
    def feature_density(query: RunQuery) -> Response:
        """How many features fire how often."""
        return json_answer(runs.ask(query.run, IndexedRun.feature_density))

    @app.get("/api/similar_headlines", responses={200: SimilarHeadlines, **NO_RUN})
    def similar_headlines(query: SimilarHeadlinesQuery) -> Response:
        """Headlines with the most similar features."""
        return json_answer(runs.ask(query.run, lambda run: run.similar_headlines(query)))

    @app.get("/api/interventions", responses={200: InterventionsAnswer, **NO_RUN})
    def interventions(query: RunQuery) -> Response:
        """Causal evidence for a run's predictions as a whole."""
        return json_answer(runs.ask(query.run, IndexedRun.interventions))

    @app.get("/api/compare", responses={200: CompareAnswer, **NO_RUN})
    def compare(query: CompareQuery) -> Response:
        """Two to four runs side by side."""
        return json_answer(compare_runs(runs, query))

    @app.get("/api/runs", responses={200: RunsAnswer})
    def list_runs() -> Response:
        """All runs, newest first."""
        return json_answer(RunsAnswer(runs=runs.summaries()))

    @app.get("/api/run", responses={200: RunMetadata, **NO_RUN})
    def run(query: RunQuery) -> Response:
        """How a run was made."""
        return json_answer(runs.get(query.run).metadata)

    @app.get("/api/labels", responses={200: LabelsAnswer, **NO_RUN})
    def read_labels(query: RunQuery) -> Response:
        """What people say about the features of the run's SAE."""
        answer = labels.get(runs.get(query.run).metadata.sae_hash)
        return json_answer(answer, answer.etag)

    @app.put("/api/labels", responses={200: LabelsAnswer, **NO_RUN, **NO_CHANGE})
    def write_labels(query: RunQuery, header: LabelsSeen, body: LabelsChange) -> Response:
        """Replace the labels of the run's SAE, given the ETag of those that were seen."""
        run = runs.get(query.run).metadata
        answer = labels.put(run.sae_hash, body.labels, run.sae.d_sae, seen_etags())
        return json_answer(answer, answer.etag)

    @app.get("/api/health", responses={200: HealthAnswer, 409: ErrorAnswer, 503: ErrorAnswer})
    def health() -> Response:
        """Whether the default run can be served."""
        try:
            metadata = runs.get().metadata
        except UnknownRunError as error:
            return error_answer(503, "unknown_run", str(error))
        return json_answer(
            HealthAnswer(
                status="ok",
                version=__version__,
                run_id=metadata.run_id,
                n_headlines=metadata.totals.n_headlines,
                n_features=metadata.totals.n_features,
            )
        )

    add_live(app, runs, live)

    @app.route("/api/openapi.json")
    def openapi() -> Response:
        return Response(openapi_json(app), mimetype="application/json")

    return app


def openapi_json(app: OpenAPI) -> bytes:
    """The API's description; the viewer's types are generated from it."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(app.api_doc, option=options)


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C (exit code 130) or SIGTERM (0); 2 and one sentence where that cannot begin."""
    options = _parser().parse_args(arguments)
    try:
        source = run_source(options.analysis_dir, options.look_every)
        live = Live(source) if options.live else None
        app = create_app(source, options.run_id, options.host, options.viewer_dir, live, options.access_log)
        if options.dump_openapi:
            sys.stdout.buffer.write(openapi_json(app))
            return 0
        return _serve(app, options.host, options.port, options.threads)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(app: Flask, host: str, port: int, threads: int) -> int:
    with shown_progress("Getting the run ready") as progress:
        run: IndexedRun = app.extensions["runs"].wait(progress)
    if app.extensions["live"]:
        app.extensions["live"].load(run.metadata)
    try:
        server = waitress.create_server(
            app,
            host=host,
            port=port,
            threads=threads_for(app, threads),
            ident=None,
            max_request_body_size=2 << 20,
            channel_request_lookahead=1,  # so that it is noticed when a client leaves
        )
    except (OSError, ValueError) as error:  # ValueError: waitress cannot resolve the host
        raise UserError(_why_not_listening(error, host, port)) from error

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a short queue is no news
    stopped_by: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped_by.append(number)
        raise SystemExit(_EXIT_CODES[number])  # waitress catches it and lets requests under way finish

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    name = f"[{host}]" if ":" in host else host
    print(
        f"Serving {run.metadata.run_id} ({run.n_headlines:,} headlines) at http://{name}:{_port(server)}",
        flush=True,
    )
    server.run()
    return _EXIT_CODES[stopped_by[0]] if stopped_by else 0


def _port(server: Any) -> int:
    """The port that was taken, which differs from the one asked for where that is 0."""
    listen: list[tuple[str, int]] = getattr(server, "effective_listen", [])
    return int(listen[0][1] if listen else server.effective_port)


def _why_not_listening(error: Exception, host: str, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use on {host}: stop the program that has it or choose another with --port."
    if isinstance(error, PermissionError):
        return f"Port {port} is reserved for the system: choose one above 1023 with --port."
    return f"Cannot listen on host {host!r}, port {port} ({error}): choose others with --host and --port."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="feature_probe_server.py", description="Serve the runs of analysis_data/ to the viewer."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port_number, default=8765, help="default: %(default)s")
    parser.add_argument("--run-id", help="run to serve by default: 34, run-034 or a folder name (default: latest)")
    parser.add_argument(
        "--analysis-dir",
        metavar="PLACE",
        default=str(ROOT / "analysis_data"),
        help="folder or address of the runs, such as s3://bucket/study/analysis_data (default: analysis_data)",
    )
    parser.add_argument(
        "--look-every",
        type=_seconds,
        metavar="SECONDS",
        default=10.0,
        help="how often an address is looked at for new and deleted runs (default: 10)",
    )
    parser.add_argument(
        "--viewer-dir", type=Path, default=ROOT / "sae-viewer" / "dist", help="the built viewer, served at /"
    )
    parser.add_argument("--threads", type=int, choices=range(1, 65), metavar="N", default=4, help="default: 4")
    parser.add_argument("--access-log", metavar="FILE", help='append a line of JSON per request; "-": to stdout')
    parser.add_argument(
        "--live", action="store_true", help="load the run's classifier and SAE, to probe and edit any text"
    )
    parser.add_argument("--dump-openapi", action="store_true", help="print the API's description and exit")
    return parser


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= float(text) <= 86_400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")


def _port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:9]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
