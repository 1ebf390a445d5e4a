"""`python -m sae_pipeline VERB`: the study from the command line. Flags are the fields of the configs."""

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec

from sae_pipeline.artefacts.writing import disk_problem
from sae_pipeline.errors import UserError
from sae_pipeline.flags import study_parser
from sae_pipeline.machine.threads import wait_asleep
from sae_pipeline.verbs import run_verb

_INSTALL = "run `pip install -r requirements.txt`, or install this program again with pip"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    return exit_code(lambda: run_verb(study_parser(__doc__).parse_args(argv)))


def exit_code(work: Callable[[], int | None]) -> int:
    """Do some work of the command line, and print a UserError or Ctrl-C as one sentence.

    Returns the exit code: 2 for a UserError, 130 for Ctrl-C, else what `work` returns, with None for 0.
    """
    wait_asleep()
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch loads: what MPS lacks, the CPU does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a letter of a headline
    try:
        code = work() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or find_spec(package):  # a module of a package that is there, such as our own
            raise
        print(f"error: The package {package} is missing; {_INSTALL}.", file=sys.stderr)
        return 2
    except BrokenPipeError:
        _print_no_more()
        return 0
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _print_no_more()
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; finished stages are kept, run the same command to go on.", file=sys.stderr)
        return 130


def _sentence(error: Exception) -> str | None:
    """What to say of an error of the disk that no writer has caught, such as one of a temporary file or of the output.

    None for any other error.
    """
    path = getattr(error, "filename", None)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"The path {str(path)[:60]}… is too long; name a shorter one."
    problem = disk_problem(error)
    return problem and f"Cannot write {path or 'a temporary file or what this command prints'}: {problem}."


def _print_no_more() -> None:
    """Give up on what is still to be printed, or Python would try once more as it ends, and complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
