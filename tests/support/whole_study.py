"""A tiny study with every artefact that there is, and relatives of it whose files are foreign to it.

The encoder has 3 layers of width 32 and random weights, so a verb takes about a second.
"""

import io
import os
import re
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import orjson

from sae_pipeline.__main__ import main
from sae_pipeline.activations import extraction
from sae_pipeline.artefacts.checkpoints import Checkpoint
from sae_pipeline.artefacts.checksums import fields_of, file_hash, write_record
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.labels import FeatureLabel
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.support.encoders import save_encoder
from tests.support.small_study import write_headlines
from viz_analysis.runs.labels import LabelStore
from viz_analysis.runs.sources import RunFolder

N_HEADLINES = 240
LAYER, SIZE, OTHER_SIZE = 2, "128", "64"
_PLACE = f"--layer {LAYER}"
FLAGS = {
    "finetune": "--preset demo --source {root}/headlines.csv --model {root}/encoder --epochs 2 --batch-size 16 "
    "--learning-rate 3e-3 --new-head true",
    "extract": f"{_PLACE} --tokens-per-batch 128",
    "train": f"{_PLACE} --tokens-per-batch 128 --latent-dims {OTHER_SIZE},{SIZE} --batch-size 128 --num-epochs 2",
    "finish": f"{_PLACE} --sae-size {OTHER_SIZE}",
    "analyze": f"{_PLACE} --sae-size {SIZE} --top-features 10",
    "intervene": "--agreement-headlines 4 --curve-headlines 4 --flip-headlines 4 --bootstrap 100 "
    "--features-per-headline 3",
    "family": "",
    "map": "",
    "contrast": "--kinds company,retweet,direction --max-headlines 10 --templates false --keep 3",
    "mend": "--edits 3:0,5:2 --random-sets 20",
    "calibrate": "",
    "diff": "--before {root}/encoder --d-sae 64 --k 8 --features 5 --examples 2 --random-sets 2",
    "compare": f"{_PLACE} --sae-size {SIZE} --seeds 0,1 --probe-sizes 1",
    "layers": f"--layers {LAYER},3 --sae-size {SIZE}",
    "export": f"{_PLACE} --sae-size {SIZE}",
    "report": "",
}
"""The verbs in the order of the study, each with its flags."""
_VARYING = {"checksum", "run_checksum", "seconds", "tokens_per_second", "created_at", "run_id"}
RELATIVE = (
    "finetune",
    "extract",
    "train",
    "analyze",
    "intervene",
    "family",
    "map",
    "contrast",
    "mend",
    "calibrate",
    "diff",
    "compare",
    "layers",
)


class Ran(NamedTuple):
    """What a command did: its exit code (None: it ended in a traceback) and all that it printed."""

    code: int | None
    said: str


def run(verb: str, root: Path, *more: str) -> Ran:
    """One verb of the command line on the study under `root`, in this process."""
    flags = [flag.format(root=root) for flag in FLAGS[verb].split()]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), mock.patch.object(extraction, "SHARD_TOKENS", 500):
        try:
            code: int | None = main([verb, *flags, *more, "--root", str(root)])
        except Exception:
            traceback.print_exc()
            code = None
    return Ran(code, said.getvalue())


class WholeStudy:
    """The study in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def make(cls, root: Path, verbs: Sequence[str] = tuple(FLAGS), **seeds: str) -> "WholeStudy":
        """Run the verbs. A seed for `finetune` or `train` makes a relative: `make(root, train="1")`."""
        write_headlines(root / "headlines.csv", N_HEADLINES)
        save_encoder("bert", root / "encoder")
        for verb in verbs:
            ran = run(verb, root, *_seed(verb, seeds))
            assert ran.code == 0, ran.said
        study = cls(root)
        labels = {3: FeatureLabel(name="profit warnings", starred=True), 5: FeatureLabel(note="rates")}
        LabelStore(RunFolder(study.runs)).put(study.sae().name, labels, int(SIZE), None)
        return study

    def copy(self, root: Path) -> "WholeStudy":
        """The same study elsewhere. Its files are hard links, so a file is to be replaced and not written into."""
        shutil.copytree(self.root, root, copy_function=os.link)
        return WholeStudy(root)

    @property
    def weights(self) -> Path:
        """`finbert_sae/`."""
        return self.root / "finbert_sae"

    @property
    def runs(self) -> Path:
        """`analysis_data/`."""
        return self.root / "analysis_data"

    @property
    def run(self) -> Path:
        """The folder of the newest run."""
        return max(self.runs.glob("*_run-*"), key=lambda path: path.name[-3:])

    @property
    def classifier(self) -> Path:
        """The folder of the newest classifier in the store."""
        return self.weights / "store" / str(fields_of(self.weights / "classifier.json")["classifier_hash"])

    def alias(self, size: str = SIZE) -> Path:
        """The newest SAE of a size, at the path the user knows."""
        return self.weights / f"layer_{LAYER}_{size}.pt"

    def sae(self, size: str = SIZE) -> Path:
        """The folder of the newest SAE of a size in the store."""
        return self.weights / "store" / file_hash(self.alias(size))

    @property
    def activations(self) -> Path:
        """The folder of the activations."""
        return next(self.weights.glob("activations/[!.]*"))

    @property
    def controls(self) -> Path:
        """What `compare` found."""
        return next(self.weights.glob("evidence/*.json"))

    @property
    def layers(self) -> Path:
        """What `layers` found."""
        return self.weights / "layers.json"

    @property
    def labels(self) -> Path:
        """What a person calls the features."""
        return next(self.runs.glob("labels/*.json"))

    def checkpoint(self, name: str) -> Path:
        """A file of the unfinished work."""
        return next(self.weights.glob(f"checkpoints/*/{name}"))


# --- what verbs make ------------------------------------------------------------------------------------


def made_by(verb: str, study: WholeStudy, pristine: WholeStudy, said: str = "") -> dict[str, Any]:
    """What a verb makes, by name, without what varies from one making to the next. `said` is what it printed.

    The artefacts of the study that have a hash in their name are looked for under the hashes of the `pristine` one.
    """
    if verb == "report":
        lines = [line for line in said.splitlines() if "damaged" not in line]
        return {"report": [re.sub(r"in [\d.,]+ s|/\S+", "", line) for line in lines]}
    here = pristine.root
    paths = {
        "finetune": [pristine.weights / "classifier.json", *pristine.classifier.iterdir()],
        "extract": [*pristine.activations.iterdir()],
        "train": [file for size in (OTHER_SIZE, SIZE) for file in _sae_files(pristine, size)],
        "finish": _sae_files(pristine, f"{OTHER_SIZE}-e2e"),
        "compare": [*(pristine.weights / "evidence").iterdir()],
        "layers": [pristine.layers],
        "export": [*(pristine.weights / "saelens").glob("*/*")],
    }
    if verb in paths:
        return {name: content(study.root / name) for name in (str(path.relative_to(here)) for path in paths[verb])}
    causes = ("feature_effects.json", "interventions.json")
    names = {"intervene": causes, "family": ("family.json",), "map": ("map.json",)}
    names |= {"contrast": ("contrast.json",), "mend": ("mending.json",), "calibrate": ("calibration.json",)}
    names |= {"diff": ("diff.json",)}
    made = names.get(verb, _RUN_FILES)
    return {name: content(study.run / name) for name in made}


_RUN_FILES = (*RUN_FILES, NEIGHBOURS, DECODER, NAMES)


def _sae_files(study: WholeStudy, size: str) -> list[Path]:
    return [study.alias(size), study.sae(size) / "sae.pt", study.sae(size) / "sae.json"]


def content(path: Path) -> Any:
    """A file's bytes, or its JSON without the fields that vary; None where there is no plain file."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    if path.suffix != ".json":
        return data
    try:
        return without_varying(orjson.loads(data))
    except ValueError:
        return data


def without_varying(value: Any) -> Any:
    """JSON without checksums, times and the numbers of runs."""
    if isinstance(value, dict):
        return {name: without_varying(one) for name, one in value.items() if name not in _VARYING}
    return [without_varying(one) for one in value] if isinstance(value, list) else value


# --- relatives and unfinished work ----------------------------------------------------------------------

_SEEDS = {"another SAE": {"train": "1"}, "another classifier": {"finetune": "1"}}
_SAVES = {
    "finetune": 14,
    "train": 10,
    "extract": 2,
}  # how often the checkpoint was saved before the work was interrupted


class Family:
    """A whole study, its relatives and its unfinished forms in one folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = self._study("whole", {}, tuple(FLAGS))

    def study(self, base: str) -> WholeStudy:
        """The whole study ("whole"), or one whose verb `base` was interrupted."""
        return self.whole if base == "whole" else self._unfinished(base, {})

    def relative(self, name: str, base: str = "whole") -> WholeStudy:
        """A study of "another SAE" or "another classifier", whole or unfinished."""
        seeds = _SEEDS[name]
        return self._study(name, seeds, RELATIVE) if base == "whole" else self._unfinished(base, seeds)

    def _study(self, name: str, seeds: dict[str, str], verbs: Sequence[str]) -> WholeStudy:
        root = self.folder / name
        return WholeStudy(root) if root.exists() else WholeStudy.make(root, verbs, **seeds)

    def _unfinished(self, verb: str, seeds: dict[str, str]) -> WholeStudy:
        root = self.folder / " ".join((verb, *seeds))
        if root.exists():
            return WholeStudy(root)
        made = WholeStudy(root)
        shutil.copytree(self.whole.root / "encoder", root / "encoder")
        shutil.copy(self.whole.root / "headlines.csv", root)
        for before in tuple(FLAGS)[: tuple(FLAGS).index(verb)]:
            run(before, root, *_seed(before, seeds))
        with _interrupted(_SAVES[verb]):
            ran = run(verb, root, *_seed(verb, seeds))
        assert ran.code == 130, ran.said
        return made


def _seed(verb: str, seeds: dict[str, str]) -> tuple[str, ...]:
    return ("--seed", seeds[verb]) if verb in seeds else ()


@contextmanager
def _interrupted(saves: int) -> Iterator[None]:
    """Interrupt the work in this block as by Ctrl-C, after so many checkpoints or shards were saved."""
    count = 0

    def then_interrupt(save: Callable[..., None]) -> Callable[..., None]:
        def saving(*arguments: Any, **names: Any) -> None:
            nonlocal count
            save(*arguments, **names)
            count += 1
            if count == saves:
                raise KeyboardInterrupt

        return saving

    with (
        mock.patch.object(Checkpoint, "save", then_interrupt(Checkpoint.save)),
        mock.patch.object(Checkpoint, "due", True),
        mock.patch("sae_pipeline.activations.extraction.write_record", then_interrupt(write_record)),
    ):
        yield
