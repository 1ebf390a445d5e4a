"""Rows of a data set on the Hugging Face hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.table_files import Row

_TIMEOUT = 5  # seconds for the hub to answer


def hub_splits(source: str, label_column: str, need_test: bool) -> list[Iterator[Row]]:
    """The rows of a data set's split "train" and, with `need_test`, of its split "validation".

    Raises UserError when the data set cannot be loaded or lacks a split.
    """
    splits = _load(source)
    names = ["train", "validation"] if need_test else ["train"]
    if missing := [name for name in names if name not in splits]:
        raise UserError(
            f"the data set {source} has no split {missing[0]!r} but {', '.join(splits)}; "
            "download it and name files by --source and --test-source."
        )
    return [_rows(splits[name], label_column) for name in names]


def _load(source: str) -> Any:
    """The data set, or the copy of it that was downloaded before where the hub does not answer.

    The hub is asked once, with a short timeout, as its own client retries a missing network for half a minute. No code
    of a data set runs: since version 4, `datasets` reads data files only.
    """
    import datasets
    from huggingface_hub import constants, get_session

    was_offline = datasets.config.HF_HUB_OFFLINE
    try:
        if not was_offline:
            try:
                get_session().head(constants.ENDPOINT, timeout=_TIMEOUT)
            except Exception:
                datasets.config.HF_HUB_OFFLINE = True
        with readable_os_errors(Path(datasets.config.HF_DATASETS_CACHE), "HF_HOME"):
            return datasets.load_dataset(source)
    except UserError:
        raise
    except Exception as error:
        if datasets.config.HF_HUB_OFFLINE:
            reason = "the hub cannot be reached and no copy was downloaded before"
        else:
            reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"the data set {source} cannot be loaded ({reason}): use the offline preset (--preset demo) "
            "or a file of your own (--source FILE)."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline


def _rows(split: Any, label_column: str) -> Iterator[Row]:
    """The rows of one split; where the data set names its classes, their names replace the numbers."""
    names = getattr(split.features.get(label_column), "names", None)
    for number, row in enumerate(split):
        if names and isinstance(row[label_column], int) and 0 <= row[label_column] < len(names):
            row = row | {label_column: names[row[label_column]]}
        yield f"row {number}", row
