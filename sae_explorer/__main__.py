"""`sae-explorer VERB`: a study and its viewer from the command line. `python -m sae_explorer` does the same."""

import argparse
import sys
from collections.abc import Sequence

from sae_explorer.completion import add_completion
from sae_pipeline.__main__ import exit_code
from sae_pipeline.flags import Parser, Verbs, add_study_verbs
from sae_pipeline.verbs import run_verb
from viz_analysis.feature_probe_server import serve_runs
from viz_analysis.web.process import add_server_flags

_DEMO_PAGE = "/"  # in a run with causes the hardest headlines come first


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    return exit_code(lambda: _run(command_line().parse_args(argv)))


def command_line() -> Parser:
    """The parser of all verbs: those of the library, `demo` and `serve`."""
    parser = Parser(prog="sae-explorer", description=__doc__)
    verbs = parser.add_verb_parsers()
    _add_server_verb(verbs, "demo", "make a small study of built-in headlines, then serve it and open it")
    add_study_verbs(verbs)
    _add_server_verb(verbs, "serve", "serve the runs of a study and the viewer, until Ctrl-C")
    add_completion(parser)
    return parser


def _add_server_verb(verbs: Verbs, verb: str, summary: str) -> None:
    sub = verbs.add_parser(verb, help=summary, description=summary)
    sub.add_argument("--root", default=".", help="folder or address of the study [.]")
    add_server_flags(sub)
    demo = verb == "demo"
    sub.set_defaults(analysis_dir=None, open=demo, page=_DEMO_PAGE if demo else "")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.verb == "demo":
        run_verb(command_line().parse_args(["study", "--preset", "demo", "--root", arguments.root]))
    elif arguments.verb != "serve":
        run_verb(arguments)
        return 0
    arguments.analysis_dir = arguments.analysis_dir or f"{arguments.root.rstrip('/')}/analysis_data"
    return serve_runs(arguments, arguments.page)


if __name__ == "__main__":
    sys.exit(main())
