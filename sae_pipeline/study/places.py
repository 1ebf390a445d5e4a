"""Where a study's headlines come from, in records that name no place of this machine.

A record holds a file below the root by its path from there, and any other file as `name@hash`, with a hash of its
content. `finbert_sae/.places.json` says where the latter are on this machine. It is hidden, so it is never sent to an
address.
"""

from collections.abc import Iterator
from pathlib import Path

from sae_pipeline.artefacts.checksums import fields_of
from sae_pipeline.artefacts.content_names import content_name, without_hash
from sae_pipeline.artefacts.writing import write_json
from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError, command
from sae_pipeline.headlines.dataset import file_of
from sae_pipeline.study.layout import Layout

_FILES = ("source", "test_source")  # the fields of HeadlinesConfig that may name a file


def recorded(config: HeadlinesConfig, root: Path) -> HeadlinesConfig:
    """A config as records hold it. Raises UserError for a file that cannot be read."""
    return config.model_copy(update={field: name for field, name, _ in _named_files(config, root)})


def remember(config: HeadlinesConfig, root: Path) -> None:
    """Keep where the files outside the root are, so that `located` finds them."""
    outside = {name: str(place) for _, name, place in _named_files(config, root) if without_hash(name) != name}
    if outside:
        register = Layout(root).places
        write_json(register, fields_of(register) | outside)


def recorded_file(source: str | None, root: Path) -> str | None:
    """A source, from a flag or a record, as records hold it; what is no file stays as it is."""
    path = None if source is None else file_of(located_file(source, root))
    return source if path is None else _name_and_place(path, root)[0]


def remember_file(source: str | None, root: Path) -> None:
    """Keep where a file outside the root is; see `remember`."""
    if source is not None:
        remember(HeadlinesConfig(source=located_file(source, root)), root)


def _named_files(config: HeadlinesConfig, root: Path) -> Iterator[tuple[str, str, Path]]:
    """The field, the name in records and the place of each file of a config."""
    for field in _FILES:
        path = file_of(getattr(config, field))
        if path is not None:
            yield field, *_name_and_place(path, root)


def _name_and_place(path: Path, root: Path) -> tuple[str, Path]:
    """The name of a file in records, and where it is."""
    folder, place = root.resolve(), path.parent.resolve() / path.name
    if not place.is_relative_to(folder):
        return content_name(place), place
    # "./" tells a folder from a data set on the hub
    return ("./" if place.is_dir() else "") + place.relative_to(folder).as_posix(), place


def located(config: HeadlinesConfig, root: Path) -> HeadlinesConfig:
    """A config from a record, with the paths of its files on this machine.

    A file is looked for where it was, and then by its name in the working folder. Raises UserError for a file that is
    in neither. Whether it still holds the same headlines is for the caller to compare.
    """
    paths = {}
    for field in _FILES:
        name = getattr(config, field)
        if file_of(name) is not None:
            found = _found(name, root)
            if found is None:
                raise UserError(
                    f"The file {name} of the classifier's headlines is not on this machine or has been moved; run the "
                    f"command in the folder that holds it, or run `{command('finetune')}` with its new "
                    "--source and all other settings as before."
                )
            paths[field] = str(found)
    return config.model_copy(update=paths)


def located_file(name: str, root: Path) -> str:
    """A source from a record, or from a flag, with its path on this machine.

    Raises UserError for a file that is not found; what is no file stays as it is.
    """
    path = file_of(name)
    if path is None or path.exists():
        return name
    found = _found(name, root)
    if found is None:
        raise UserError(f"The file {name} is not on this machine; run the command in the folder that holds it.")
    return str(found)


def _found(name: str, root: Path) -> Path | None:
    """The file of a record: where it was, or else by its name in the working folder."""
    place = fields_of(Layout(root).places).get(name, name)
    candidates = (root / str(place), Path(Path(without_hash(name)).name))
    return next((path for path in candidates if path.exists()), None)
