"""Experiment trackers: the figures of a training go to TensorBoard, trackio or Weights & Biases while it runs.

Nothing is tracked unless `--report-to` names a tracker, whatever environment variables say. A tracker's package is
imported only then. If a tracker fails during a training, only the tracking ends.
"""

import contextvars
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.config import TrackConfig
from sae_pipeline.errors import UserError, reason_of

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the number of the step, from 1, and the figures at it by name."""

Tracking = Callable[[str, Mapping[str, Any]], Log]
"""Begins the record of one training, from its name and its settings."""

_INSTALL = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def _no_log(step: int, figures: Mapping[str, float]) -> None:
    """Keep nothing."""


def no_tracking(name: str, settings: Mapping[str, Any]) -> Log:
    """Begin a record that keeps nothing."""
    return _no_log


@contextmanager
def tracking(config: TrackConfig, root: Path) -> Iterator[Tracking]:
    """Open the tracker that a config names, and close it when the block ends.

    Raises UserError when its package is not installed, and at the first record when the tracker cannot start.
    """
    if config.report_to == "none":
        yield no_tracking
        return
    folder = Path(config.report_folder) if config.report_folder else root / "tracking"
    begin = _BEGIN[config.report_to](folder, config.report_project)
    with _errors_of_threads_told_later(), ExitStack() as records:

        def start(name: str, settings: Mapping[str, Any]) -> Log:
            try:
                with readable_os_errors(folder, "--report-folder"):
                    log, close = begin(name, settings)
            except UserError:
                raise
            except Exception as error:  # each tracker has errors of its own
                raise UserError(
                    f"{config.report_to} cannot start ({_reason(error)}); set it up, or leave --report-to out."
                ) from error
            records.callback(_patient(close, config.report_to))
            return _patient(log, config.report_to)

        yield start


@contextmanager
def _errors_of_threads_told_later() -> Iterator[None]:
    """Print nothing when a tracker's own thread cannot write: the next call of the tracker fails, and says so."""
    before = threading.excepthook

    def told_later(thread: threading.ExceptHookArgs) -> None:
        if not issubclass(thread.exc_type, OSError):
            before(thread)

    threading.excepthook = told_later
    try:
        yield
    finally:
        threading.excepthook = before


def _patient(call: Callable[..., object], tracker: str) -> Callable[..., None]:
    """Wrap a call so that it never raises. At its first error it prints a line, and later calls do nothing."""
    has_failed = False

    def patient(*arguments: object) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            call(*arguments)
        except Exception as error:  # a training is worth more than its record
            has_failed = True
            tqdm.write(f"{tracker} has failed and is not used any more ({_reason(error)}); the work goes on.")

    return patient


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return reason_of(error)
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


# --- one function per tracker: it imports the package and returns what begins a record ------------------

_Begin = Callable[[str, Mapping[str, Any]], tuple[Log, Callable[[], object]]]


def _imported(module: str, tracker: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{tracker} is not installed here; run `pip install {_INSTALL[tracker]}`, or leave --report-to out."
        ) from error


def _tensorboard(folder: Path, project: str) -> _Begin:
    """TensorBoard: a folder of event files per training, below `<folder>/<project>`."""
    module = _imported("torch.utils.tensorboard", "tensorboard")

    def begin(name: str, settings: Mapping[str, Any]) -> tuple[Log, Callable[[], object]]:
        writer = module.SummaryWriter(str(folder / project / name))
        writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

        def log(step: int, figures: Mapping[str, float]) -> None:
            for key, value in figures.items():
                writer.add_scalar(key, value, step)

        return log, writer.close

    return begin


def _wandb(folder: Path, project: str) -> _Begin:
    """Weights & Biases: a run per training. WANDB_MODE=offline keeps it in the folder."""
    wandb = _imported("wandb", "wandb")

    def begin(name: str, settings: Mapping[str, Any]) -> tuple[Log, Callable[[], object]]:
        folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=project, name=name, config=dict(settings), dir=str(folder), reinit="create_new", save_code=False
        )
        return lambda step, figures: run.log(dict(figures), step=step), run.finish

    return begin


def _trackio(folder: Path, project: str) -> _Begin:
    """trackio: a run per training, in trackio's own folder (TRACKIO_DIR)."""
    trackio = _imported("trackio", "trackio")

    def begin(name: str, settings: Mapping[str, Any]) -> tuple[Log, Callable[[], object]]:
        # trackio ends the run before when another begins in the same context
        run = contextvars.copy_context().run(trackio.init, project=project, name=name, config=dict(settings))
        return lambda step, figures: run.log(dict(figures), step=step), run.finish

    return begin


_BEGIN: dict[str, Callable[[Path, str], _Begin]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
}
