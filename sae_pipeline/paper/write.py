"""The verb paper: a folder with figures, tables, methods, facts and references of a run, and an archive of it all."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from sae_pipeline import __version__
from sae_pipeline.artefacts.checksums import check_file, fields_of, file_sums, write_record
from sae_pipeline.artefacts.writing import new_folder
from sae_pipeline.config import PaperConfig
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.paper.archive import ARCHIVE, pack
from sae_pipeline.paper.document import texts_of
from sae_pipeline.paper.numbers import numbers_of
from sae_pipeline.paper.plots import chosen_headline, plots_of
from sae_pipeline.paper.sources import Sources
from sae_pipeline.schema.common import FileSum
from sae_pipeline.schema.paper import PAPER, PAPER_VERSION, PaperRecord

_PACKAGES = ("matplotlib", "numpy", "scipy", "torch", "transformers")


def write_paper(config: PaperConfig, root: Path) -> Iterator[str]:
    """Write the folder `config.out`, and say what is in it. A folder that this verb wrote before is replaced.

    Raises UserError for a run that cannot be read or has no intervals, and for a folder with other content.
    """
    sources = Sources.read(root, config.run)
    headline = chosen_headline(sources) if config.headline is None else config.headline
    sources.run.headline(headline)  # refuses one that is not in the run
    out = Path(config.out).expanduser()
    _check_place(out)
    with new_folder(out, "--out") as partial:
        partial.mkdir()
        record = write_files(sources, partial, headline, config.features, config.weights)
        write_record(partial / PAPER, record)
        pack(sources, partial, record)
    yield from _lines(sources, record, out)


def write_files(sources: Sources, folder: Path, headline: int, n_features: int, has_weights: bool) -> PaperRecord:
    """Write all files but the record and the archive into a folder. Returns the record."""
    numbers = numbers_of(sources, n_features)
    figures = []
    for name, pdf, caption in plots_of(sources, numbers, n_features, headline):
        (folder / name).write_bytes(pdf)
        figures.append((name, caption))
    for name, text in texts_of(sources, numbers, n_features, figures).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    run = sources.run.metadata
    return PaperRecord(
        schema_version=PAPER_VERSION,
        made_with=__version__,
        run_id=run.run_id,
        run_checksum=sources.run.checksum,
        headline=headline,
        features=n_features,
        has_weights=has_weights,
        machine=f"{platform.machine()}, {platform.system()}, {os.cpu_count()} processors",
        packages={name: version(name) for name in _PACKAGES},
        numbers=list(numbers.values()),
        files=file_sums(folder, [path.name for path in folder.iterdir()]),
    )


def _check_place(out: Path) -> None:
    """Raise UserError for a folder that this verb did not write, or in which a person has edited a file."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is not a folder; choose another one with --out.")
    if not any(out.iterdir()):
        return
    known = fields_of(out / PAPER).get("files")
    if not isinstance(known, dict):
        raise UserError(f"{out} holds other files; choose another folder with --out.")
    for name, found in known.items():
        path = out / name
        try:
            if path.exists():
                check_file(path, FileSum.model_validate(found))
        except (DamageError, ValueError) as error:
            raise UserError(
                f"{path} was edited since {command('paper')} wrote it; name another folder with --out, so that your "
                "version is kept."
            ) from error


def _lines(sources: Sources, record: PaperRecord, out: Path) -> Iterator[str]:
    names = sorted(record.files)
    yield f"{record.run_id}: {len(record.numbers)} numbers, {sum(n.endswith('.pdf') for n in names)} figures, "
    yield f"  {', '.join(names)}"
    if single := [size for size, records in sources.seeds.items() if len(records) < 2]:
        yield (
            f"One seed of {', '.join(single)}, so these have no interval over seeds; "
            f"`{command('compare')} --sae-size {single[0]} --seeds 0,1,2` trains more."
        )
    if not sources.controls:
        yield f"No table of baselines; `{command('compare')}` measures them."
    size = (out / ARCHIVE).stat().st_size
    yield f"archive: {out / ARCHIVE} ({size / 1e6:,.1f} MB); `{command('verify')} {out / ARCHIVE}` checks it"
    yield f"paper: {out}"
