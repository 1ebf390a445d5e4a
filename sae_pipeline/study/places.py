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


def _named_files(config: HeadlinesConfig, root: Path) -> Iterator[tuple[str, str, Path]]:
    """The field, the name in records and the place of each file of a config."""
    folder = root.resolve()
    for field in _FILES:
        path = file_of(getattr(config, field))
        if path is not None:
            place = path.parent.resolve() / path.name
            if not place.is_relative_to(folder):
                name = content_name(place)
            else:  # "./" tells a folder from a data set on the hub
                name = ("./" if place.is_dir() else "") + place.relative_to(folder).as_posix()
            yield field, name, place


def located(config: HeadlinesConfig, root: Path) -> HeadlinesConfig:
    """A config from a record, with the paths of its files on this machine.

    A file is looked for where it was, and then by its name in the working folder. Raises UserError for a file that is
    in neither. Whether it still holds the same headlines is for the caller to compare.
    """
    places = fields_of(Layout(root).places)
    paths = {}
    for field in _FILES:
        name = getattr(config, field)
        if file_of(name) is not None:
            candidates = (root / str(places.get(name, name)), Path(Path(without_hash(name)).name))
            found = next((path for path in candidates if path.exists()), None)
            if found is None:
                raise UserError(
                    f"The file {name} of the classifier's headlines is not on this machine or has been moved; run the "
                    f"command in the folder that holds it, or run `{command('finetune')}` with its new "
                    "--source and all other settings as before."
                )
            paths[field] = str(found)
    return config.model_copy(update=paths)
