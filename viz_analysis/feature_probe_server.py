"""The server behind the viewer: the runs of `analysis_data/` as a JSON API, and the built viewer at `/`.

    python viz_analysis/feature_probe_server.py --host 127.0.0.1 --port 8765 [--run-id 34] [--live]

Without `--run-id` it answers from the latest run at the time of asking; `?run=` names any other. `create_app` makes the
WSGI application, which any other WSGI server can serve too. The queries and answers are defined in `api/`.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson
from flask import Response
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from sae_pipeline import __version__
from sae_pipeline.errors import UserError
from sae_pipeline.machine.threads import wait_asleep
from sae_pipeline.runs.labels import find_set
from sae_pipeline.schema.layers import LayersFile
from viz_analysis.api.card_types import FeatureCard
from viz_analysis.api.feature_types import FeatureDensity, FeatureInfo, FeaturesPage, MapAnswer, SetsAnswer
from viz_analysis.api.headline_types import ColumnAnswer, ColumnsAnswer, Confusion, HeadlinesPage, SimilarHeadlines
from viz_analysis.api.queries import (
    ColumnQuery,
    CompareQuery,
    ConfusionQuery,
    FeatureCardQuery,
    FeatureInfoQuery,
    FeaturesQuery,
    HeadlinesQuery,
    LabelsSeen,
    RunQuery,
    SetsQuery,
    SimilarHeadlinesQuery,
)
from viz_analysis.api.run_types import (
    CalibrationAnswer,
    CompareAnswer,
    ContrastAnswer,
    DiffAnswer,
    ErrorAnswer,
    EvidenceAnswer,
    HealthAnswer,
    InterventionsAnswer,
    MendingAnswer,
    RunAnswer,
    RunsAnswer,
)
from viz_analysis.live.endpoints import add_live
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.card import Evidence
from viz_analysis.runs.comparison import compare_runs
from viz_analysis.runs.evidence import evidence_answer, intact_controls
from viz_analysis.runs.feature_list import Human
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.runs.labels import LabelsAnswer, LabelsChange, LabelStore
from viz_analysis.runs.layers_answer import layers_answer
from viz_analysis.runs.run_library import RunLibrary
from viz_analysis.runs.sources import RunFolder, run_source
from viz_analysis.share.card_html import card_html
from viz_analysis.share.card_latex import card_latex
from viz_analysis.web.access import Access, access_from
from viz_analysis.web.access_log import log_requests
from viz_analysis.web.answers import bad_query, json_answer, seen_etags, set_answer_rules
from viz_analysis.web.base_path import set_base_path
from viz_analysis.web.guard import guard
from viz_analysis.web.password import ask_password
from viz_analysis.web.process import command_line, serve, stop_with_parent
from viz_analysis.web.viewer_files import VIEWER_DIR, viewer_blueprint


def create_app(
    analysis_dir: Path | RunFolder,
    run_id: str | None = None,
    access: Access = Access(),  # noqa: B008 (frozen)
    viewer_dir: Path = VIEWER_DIR,
    live: ModelQueue | None = None,
    access_log: str | None = None,
) -> OpenAPI:
    """The API over the runs in `analysis_dir`, and the built viewer of `viewer_dir` at `/`.

    `run_id` pins the run that answers where a request names none; the default is the latest. `access` says from
    where the server may be opened, and by whom. Runs are read when they are asked for. `live` answers about texts
    that are in no run. `access_log` is a file, or "-", that gets a line of JSON for each request.
    """
    app = _empty_app()
    if access_log:
        log_requests(app, access_log)
    source = analysis_dir if isinstance(analysis_dir, RunFolder) else RunFolder(analysis_dir)
    set_answer_rules(app, source.folder.parent)
    guard(app, access.host, access.allowed_hosts)
    set_base_path(app, access.base_path, access.trust_proxy)  # first, because the form is relative to its page
    if access.password is not None:
        ask_password(app, access.password, access.frame_ancestors, access.password_is_random)
    runs, labels = RunLibrary(source, run_id), LabelStore(source)
    app.extensions |= {"runs": runs, "labels": labels}

    @app.get("/api/headlines", responses=_of_run(HeadlinesPage))
    def headlines(query: HeadlinesQuery) -> Response:
        """Headlines with prediction, label and strongest features."""
        return json_answer(runs.ask(query.run, lambda run: run.headlines(query)))

    @app.get("/api/confusion", responses=_of_run(Confusion))
    def confusion(query: ConfusionQuery) -> Response:
        """The headlines that match the filters, counted by true label and prediction."""
        return json_answer(runs.ask(query.run, lambda run: run.confusion(query)))

    @app.get("/api/columns", responses=_of_run(ColumnsAnswer))
    def columns(query: RunQuery) -> Response:
        """The table's columns beside text and label."""
        return json_answer(runs.ask(query.run, IndexedRun.columns))

    @app.get("/api/column_values", responses=_of_run(ColumnAnswer))
    def column_values(query: ColumnQuery) -> Response:
        """The most frequent values of a column, or those that contain a text."""
        return json_answer(runs.ask(query.run, lambda run: run.column(query)))

    @app.get("/api/similar_headlines", responses=_of_run(SimilarHeadlines))
    def similar_headlines(query: SimilarHeadlinesQuery) -> Response:
        """The headlines whose strongest features are most like those of one headline."""
        return json_answer(runs.ask(query.run, lambda run: run.similar_headlines(query)))

    @app.get("/api/features", responses=_of_run(FeaturesPage))
    def features(query: FeaturesQuery) -> Response:
        """Features that match the filters, ordered by a metric."""
        run = runs.get(query.run).metadata
        human = Human({}, None)
        if query.q or query.set or query.labelled is not None:
            human = labels.human(run.sae_hash, run.sae.d_sae, query.set)
        return json_answer(runs.ask(query.run, lambda run: run.features(query, human)))

    @app.get("/api/sets", responses=_of_run(SetsAnswer))
    def sets(query: SetsQuery) -> Response:
        """The sets of features that people named: their features, and where other sizes and seeds have them."""
        about = runs.get(query.run).metadata
        sets = labels.get(about.sae_hash, about.sae.d_sae).sets
        if query.name:
            sets = {query.name: find_set(sets, query.name)}
        return json_answer(runs.ask(query.run, lambda run: run.sets(sets, runs.newest_by_sae)))

    @app.get("/api/feature_info", responses=_of_run(FeatureInfo))
    def feature_info(query: FeatureInfoQuery) -> Response:
        """A feature's statistics and its strongest tokens in their headlines."""
        return json_answer(runs.ask(query.run, lambda run: run.feature_info(query.id, runs.newest_by_sae)))

    @app.get("/api/feature_card", responses=_of_run(FeatureCard))
    def feature_card(query: FeatureCardQuery) -> Response:
        """What can be claimed of a feature, to cite: as sections, as an HTML page and as a LaTeX document."""
        about = runs.get(query.run).metadata
        evidence = Evidence(
            labels.get(about.sae_hash, about.sae.d_sae).labels.get(query.id),
            intact_controls(source.folder.resolve().parent, about.sae_hash),
            (query.features_seen, query.headlines_seen),
        )
        card = runs.ask(query.run, lambda run: run.card(query.id, runs.newest_by_sae, evidence))
        return json_answer(FeatureCard(**dict(card), html=card_html(card), latex=card_latex(card)))

    @app.get("/api/feature_density", responses=_of_run(FeatureDensity))
    def feature_density(query: RunQuery) -> Response:
        """A histogram of how often features fire."""
        return json_answer(runs.ask(query.run, IndexedRun.feature_density))

    @app.get("/api/map", responses=_of_run(MapAnswer))
    def feature_map(query: RunQuery) -> Response:
        """The live features in the plane, and what may colour them."""
        return json_answer(runs.ask(query.run, IndexedRun.map))

    @app.get("/api/interventions", responses=_of_run(InterventionsAnswer))
    def interventions(query: RunQuery) -> Response:
        """The causal findings about a run's predictions as a whole."""
        return json_answer(runs.ask(query.run, IndexedRun.interventions))

    @app.get("/api/contrast", responses=_of_run(ContrastAnswer))
    def contrast(query: RunQuery) -> Response:
        """What small changes of texts do to predictions and features."""
        return json_answer(runs.ask(query.run, IndexedRun.contrast))

    @app.get("/api/mending", responses=_of_run(MendingAnswer))
    def mending(query: RunQuery) -> Response:
        """The edits of features that mend wrong predictions, tested on headlines that did not choose them."""
        return json_answer(runs.ask(query.run, IndexedRun.mending))

    @app.get("/api/calibration", responses=_of_run(CalibrationAnswer))
    def calibration(query: RunQuery) -> Response:
        """How far probabilities can be trusted, and whether features say when to abstain."""
        return json_answer(runs.ask(query.run, IndexedRun.calibration))

    @app.get("/api/diff", responses=_of_run(DiffAnswer))
    def diff(query: RunQuery) -> Response:
        """Which features differ between the run's classifier and the model it was fine-tuned from."""
        return json_answer(runs.ask(query.run, IndexedRun.diff))

    @app.get("/api/layers", responses=_of_run(LayersFile))
    def layers(query: RunQuery) -> Response:
        """The layers of the run's classifier side by side."""
        return json_answer(layers_answer(source.folder.resolve().parent, runs.get(query.run).metadata))

    @app.get("/api/evidence", responses=_of_run(EvidenceAnswer))
    def evidence(query: RunQuery) -> Response:
        """The run's SAE beside its baselines and its other seeds."""
        run = runs.get(query.run).metadata
        return json_answer(evidence_answer(source.folder.resolve().parent, run))

    @app.get("/api/compare", responses=_of_run(CompareAnswer))
    def compare(query: CompareQuery) -> Response:
        """Two to four runs side by side."""
        return json_answer(compare_runs(runs, query))

    @app.get("/api/runs", responses={200: RunsAnswer})
    def list_runs() -> Response:
        """All runs, newest first."""
        return json_answer(RunsAnswer(runs=runs.summaries()))

    @app.get("/api/run", responses=_of_run(RunAnswer))
    def run(query: RunQuery) -> Response:
        """How a run was made, and which of its optional files are damaged."""
        run = runs.get(query.run)
        return json_answer(
            RunAnswer(
                **dict(run.metadata),
                has_causes=run.has_causes,
                names=run.names,
                stability=run.stability,
                tests=run.tests,
                damaged_files=run.damaged_files,
            )
        )

    @app.get("/api/labels", responses=_of_run(LabelsAnswer))
    def read_labels(query: RunQuery) -> Response:
        """The names, stars and notes that people gave to features of the run's SAE, and the sets that they named."""
        run = runs.get(query.run).metadata
        answer = labels.get(run.sae_hash, run.sae.d_sae)
        return json_answer(answer, answer.etag)

    @app.put("/api/labels", responses=_of_run(LabelsAnswer, 403, 412, 413, 415, 428, 503))
    def write_labels(query: RunQuery, header: LabelsSeen, body: LabelsChange) -> Response:
        """Replace the labels of the run's SAE, and its sets where there are any, given the ETag that was read."""
        run = runs.get(query.run).metadata
        answer = labels.put(run.sae_hash, body.labels, run.sae.d_sae, seen_etags(), body.sets)
        return json_answer(answer, answer.etag)

    @app.get("/api/health", responses={200: HealthAnswer, 409: ErrorAnswer, 503: ErrorAnswer})
    def health() -> Response:
        """Whether the default run can be served."""
        return json_answer(runs.health())

    add_live(app, runs, live)

    @app.route("/api/openapi.json")
    def openapi() -> Response:
        return Response(openapi_json(app), mimetype="application/json")

    app.register_blueprint(viewer_blueprint(viewer_dir, access.frame_ancestors))
    return app


def _empty_app() -> OpenAPI:
    return OpenAPI(
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


def _of_run(answer: type[BaseModel], *errors: int) -> dict[Any, Any]:
    """What an endpoint about a run answers, for the API's description."""
    return {200: answer, **dict.fromkeys((404, 409, *errors), ErrorAnswer)}


def openapi_json(app: OpenAPI) -> bytes:
    """The API's description; the viewer's types are generated from it."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(app.api_doc, option=options)


def serve_runs(options: Namespace, page: str = "") -> int:
    """Serve as the flags say until the server is told to stop; its exit code. `page` is what `--open` opens.

    Raises UserError where that cannot begin.
    """
    wait_asleep()
    if options.until_stdin_closes:
        stop_with_parent()
    source = run_source(options.analysis_dir, options.look_every)
    live = ModelQueue(source) if options.live else None
    access = access_from(options)
    app = create_app(source, options.run_id, access, options.viewer_dir, live, options.access_log)
    return serve(app, access, options.port, options.threads, options.open, page)


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C (exit code 130) or SIGTERM (0). Where that cannot begin: one sentence and exit code 2."""
    options = command_line().parse_args(arguments)
    try:
        if options.dump_openapi:
            sys.stdout.buffer.write(openapi_json(create_app(Path(options.analysis_dir))))
            return 0
        return serve_runs(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
