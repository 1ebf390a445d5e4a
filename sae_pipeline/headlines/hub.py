"""Rows of a data set on the Hugging Face hub."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.table_files import Row
from sae_pipeline.headlines.text import shortened
from sae_pipeline.machine.hub import hub_trouble

_TIMEOUT = 5  # seconds for the hub to answer


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set on the hub."""

    data: Any

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self.data.column_names)

    @property
    def revision(self) -> str | None:
        """The commit that its files were downloaded from: it names the folder of the copy."""
        found = re.search(r"/([0-9a-f]{40})/", " ".join(file["filename"] for file in self.data.cache_files))
        return found[1] if found else None

    def class_names(self, column: str | None) -> tuple[str, ...]:
        """The names that the data set gives to the classes in a column; none where it gives none."""
        return tuple(getattr(self.data.features.get(column), "names", None) or ())

    def rows(self, label_column: str | None) -> Iterator[Row]:
        """The rows; the numbers of named classes are replaced by their names."""
        names = self.class_names(label_column)
        for number, row in enumerate(self.data):
            if names and isinstance(row[label_column], int):  # -1 says that a row has no label
                row = row | {label_column: names[row[label_column]] if row[label_column] >= 0 else None}
            yield f"row {number}", row


def hub_splits(source: str, need_test: bool) -> list[HubSplit]:
    """The split "train" of a data set and, with `need_test`, its split "validation" or "test".

    Raises UserError when the data set cannot be loaded or lacks a split.
    """
    splits = _load(source)
    names = ["train"]
    if need_test:
        names.append(next((name for name in ("validation", "test") if name in splits), "validation"))
    if missing := [name for name in names if name not in splits]:
        raise UserError(
            f"the data set {source} has no split {missing[0]!r} but {', '.join(splits)}; "
            "download it and name files by --source and --test-source."
        )
    return [HubSplit(splits[name]) for name in names]


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
        reason = hub_trouble(error)
        if reason is None and datasets.config.HF_HUB_OFFLINE:
            reason = "the hub cannot be reached, and no copy was downloaded before"
        reason = reason or shortened(str(error) or type(error).__name__, 200).rstrip(".")
        raise UserError(
            f"the data set {source} cannot be loaded ({reason}): use the offline preset (--preset demo) "
            "or a file of your own (--source FILE)."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
