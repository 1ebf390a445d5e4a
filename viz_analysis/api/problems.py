"""What the API cannot answer, and the HTTP status and error code that each of these cases has."""

from typing import ClassVar

from sae_pipeline.errors import NoEncoderError, UserError
from sae_pipeline.runs.folders import UnknownRunError
from sae_pipeline.runs.labels import DamagedLabelsError, UnknownSetError
from sae_pipeline.runs.run_files import DamagedRunError


class ApiError(UserError):
    """A request that is answered with an error. Its message is one sentence that says what to do."""

    status: ClassVar[int]
    code: ClassVar[str]
    retry_after: ClassVar[int | None] = None  # seconds until the same request may succeed


_PROBLEMS_OF_THE_LIBRARY: dict[type[UserError], tuple[int, str]] = {
    UnknownRunError: (404, "unknown_run"),
    DamagedRunError: (409, "damaged_run"),  # the server is not at fault and the run is not absent
    NoEncoderError: (409, "no_encoder"),
    DamagedLabelsError: (409, "damaged_labels"),
    UnknownSetError: (404, "unknown_set"),
}


def status_and_code(error: UserError) -> tuple[int, str]:
    """The HTTP status and error code of a mistake; one that is not listed here may pass and is a 503."""
    if isinstance(error, ApiError):
        return error.status, error.code
    return _PROBLEMS_OF_THE_LIBRARY.get(type(error), (503, "unavailable"))


# --- runs ----------------------------------------------------------------------------------------------


class UnknownHeadlineError(ApiError):
    """The run has no such headline."""

    status, code = 404, "unknown_headline"


class UnknownFeatureError(ApiError):
    """The SAE has no such feature."""

    status, code = 404, "unknown_feature"


class UnknownMetricError(ApiError):
    """The run has no such metric."""

    status, code = 404, "unknown_metric"


class UnknownColumnError(ApiError):
    """The run's table has no such column."""

    status, code = 404, "unknown_column"


class BadConditionError(ApiError):
    """A condition on a column does not fit the column."""

    status, code = 400, "bad_request"


class NoInterventionsError(ApiError):
    """The run has no causal findings."""

    status, code = 404, "no_interventions"


class NoContrastError(ApiError):
    """The run has no changed texts."""

    status, code = 404, "no_contrast"


class NoMendingError(ApiError):
    """No edits that mend predictions were searched in the run."""

    status, code = 404, "no_mending"


class NoCalibrationError(ApiError):
    """The probabilities of the run were not compared with its labels."""

    status, code = 404, "no_calibration"


class NoDiffError(ApiError):
    """The classifier of the run was not compared with another model."""

    status, code = 404, "no_diff"


class NoLayersError(ApiError):
    """The layers of the run's classifier have not been compared."""

    status, code = 404, "no_layers"


class DamagedLayersError(ApiError):
    """The comparison of layers exists but cannot be read."""

    status, code = 409, "damaged_layers"


class NoEvidenceError(ApiError):
    """The SAE of the run was not compared with baselines, or what was found cannot be read."""

    status, code = 404, "no_evidence"


class NoMapError(ApiError):
    """The run has no map."""

    status, code = 404, "no_map"


class PreparingError(ApiError):
    """The run is being read for the search by meaning; the message gives the progress."""

    status, code, retry_after = 503, "preparing", 2


class IndexingError(ApiError):
    """The run is being fetched or its index is being built; the message gives the progress."""

    status, code, retry_after = 503, "indexing", 2


class NothingToServeError(ApiError):
    """There is no run that answers where a request names none."""

    status, code = 503, "unknown_run"


# --- labels --------------------------------------------------------------------------------------------


class LabelsChangedError(ApiError):
    """The labels have changed since the client read them."""

    status, code = 412, "labels_changed"


class BadLabelsError(ApiError):
    """The labels or sets name features that the SAE does not have."""

    status, code = 400, "bad_labels"


# --- live ----------------------------------------------------------------------------------------------


class LiveOffError(ApiError):
    """The server runs without --live."""

    status, code = 409, "live_off"


class NoModelError(ApiError):
    """The run's classifier or SAE cannot be loaded."""

    status, code = 409, "no_model"


class BadEditError(ApiError):
    """The question does not fit the text or the SAE."""

    status, code = 400, "bad_request"


class BusyError(ApiError):
    """All places in the queue are taken, or the answer takes too long."""

    status, code, retry_after = 429, "busy", 1


class ClientGoneError(ApiError):
    """The client has closed the connection."""

    status, code = 408, "client_gone"
