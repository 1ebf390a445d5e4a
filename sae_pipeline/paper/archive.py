"""The archive of a paper: one zip, from which its numbers and figures can be recomputed on another machine.

It has the folders of a study: `paper/`, the run in `analysis_data/`, records and weights in `finbert_sae/`. Trainings
with other seeds come with their records only, without weights.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sae_pipeline.analysis.meaning import MEANING_FILES
from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.classifier.classifier import RECORD
from sae_pipeline.paper.sources import Sources, hash_of
from sae_pipeline.runs.index import INDEX_FILES
from sae_pipeline.schema.layers import LAYERS
from sae_pipeline.schema.paper import PaperRecord
from sae_pipeline.study.layout import SAE, SAE_RECORD, Layout, PresentClassifier
from sae_pipeline.study.seals import find_seal

ARCHIVE = "archive.zip"
FOLDER = "paper"  # inside the archive
_THE_SAME = (1980, 1, 1, 0, 0, 0)  # a date for all files, so that equal content makes an equal archive


def pack(sources: Sources, folder: Path, record: PaperRecord) -> None:
    """Write the archive of a paper into the paper's own `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        alias = Path(temporary) / RECORD
        write_record(
            alias,
            PresentClassifier(
                classifier_hash=sources.run.metadata.classifier_hash,
                preset=sources.run.metadata.preset,
                headlines=sources.classifier.headlines,
                layer=sources.run.metadata.hookpoint.layer,
            ),
        )
        content = dict(_content(sources, folder, record))
        content[f"finbert_sae/{RECORD}"] = alias
        with zipfile.ZipFile(folder / ARCHIVE, "w") as file:
            for name, path in sorted(content.items()):
                _add(file, name, path)


def _add(file: zipfile.ZipFile, name: str, path: Path) -> None:
    member = zipfile.ZipInfo(name, _THE_SAME)
    member.external_attr = 0o644 << 16
    is_weights = path.suffix in (".safetensors", ".pt", ".pdf")
    member.compress_type = zipfile.ZIP_STORED if is_weights else zipfile.ZIP_DEFLATED
    with path.open("rb") as source, file.open(member, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _content(sources: Sources, folder: Path, record: PaperRecord) -> Iterator[tuple[str, Path]]:
    """The files of the archive, by their names in it."""
    layout, run = Layout(sources.root), sources.run
    yield from ((f"{FOLDER}/{path.name}", path) for path in folder.iterdir() if path.name != ARCHIVE)
    local = {*INDEX_FILES, *MEANING_FILES}
    for path in run.folder.iterdir():
        if path.is_file() and path.name[0] != "." and path.name not in local:
            yield f"analysis_data/{run.folder.name}/{path.name}", path
    classifier = layout.store / run.metadata.classifier_hash
    names = [RECORD, *(sources.classifier.files if record.has_weights else ())]
    yield from ((f"finbert_sae/store/{classifier.name}/{name}", classifier / name) for name in names)
    shown = {hash_of(one) for one in sources.saes.values()}
    for name in {hash_of(one) for records in sources.seeds.values() for one in records}:
        yield f"finbert_sae/store/{name}/{SAE_RECORD}", sources.folders[name] / SAE_RECORD
        if record.has_weights and name in shown:
            yield f"finbert_sae/store/{name}/{SAE}", sources.folders[name] / SAE
    for file in sources.controls.values():
        path = layout.controls(file.sae_hash)
        yield path.relative_to(layout.root).as_posix(), path
    if sources.layers is not None:
        yield f"finbert_sae/{LAYERS}", layout.layers
    if (seal := find_seal(layout, sources.classifier.data_hash)) is not None:
        yield seal[0].relative_to(layout.root).as_posix(), seal[0]
