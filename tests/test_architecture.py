"""The house rules: imports go down the floors, the library knows no server, and importing loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    {
        "errors",
        "arrays",
        "intervals",
        "static_html",
        "latex",
        "schema",
        "config",
        "config_file",
        "tracking",
        "machine",
        "artefacts",
        "kernels",
    },
    {"headlines"},
    {"runs"},
    {"classifier"},
    {"activations"},
    {"sae", "naming"},
    {"evaluation", "analysis", "scoring"},
    {"causal"},
    {"study"},
    {"pipeline", "quality", "contrast", "mending", "calibration", "diffing", "explaining", "sharing", "paper", "flags"},
    {"verbs"},
    {"__main__"},
)
"""The rooms of `sae_pipeline`, from the ground up. A room imports lower floors only; the ground is tested by itself."""

FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    """The room (a folder, or a module at the top) of a source file."""
    return path.relative_to(ROOT / "sae_pipeline").with_suffix("").parts[0]


def imported_modules(path: Path) -> set[str]:
    """Dotted names of the library's modules that a file imports, also those imported inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("sae_pipeline.")}


SOURCES = sorted(path for path in (ROOT / "sae_pipeline").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "sae_pipeline")))
def test_imports_go_down(path: Path) -> None:
    """A file imports its own room and lower floors only."""
    own = room_of(path)
    for name in imported_modules(path):
        room = name.split(".")[1]
        if room != own and room in FLOOR:
            assert FLOOR[room] < FLOOR[own] or FLOOR[own] == 0, f"{path} imports {name}"


def test_every_room_has_a_floor() -> None:
    """The table names each folder and top-level module, and nothing else."""
    assert {room_of(path) for path in SOURCES} == FLOOR.keys()


@pytest.mark.parametrize("package", ["sae_pipeline", "viz_analysis", "sae_explorer"])
def test_imports_close_no_circle(package: str) -> None:
    """Taking away the modules that import none of the others ends with nothing left."""
    paths = [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    graph = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    needs = {module: _needed(path, package) & graph.keys() - {module} for module, path in graph.items()}
    while needs:
        leaves = {module for module, needed in needs.items() if not needed & needs.keys()}
        assert leaves, f"a circle among {sorted(needs)}"
        needs = {module: needed for module, needed in needs.items() if module not in leaves}


def _needed(path: Path, package: str) -> set[str]:
    """What a file imports of its package when it is loaded, so not inside functions or for types alone."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_library_knows_nothing_of_server_and_viewer() -> None:
    """No module of the library imports viz_analysis, and none of either imports what is above both."""
    for path in SOURCES:
        assert "viz_analysis" not in path.read_text(encoding="utf-8").replace("`viz_analysis", "")
    for path in [*SOURCES, *(ROOT / "viz_analysis").rglob("*.py")]:
        assert "import sae_explorer" not in (source := path.read_text(encoding="utf-8")), path
        assert "from sae_explorer" not in source, path


@pytest.mark.parametrize(
    "module", ["sae_pipeline", "sae_pipeline.config", "sae_pipeline.runs.folders", "sae_pipeline.headlines.dataset"]
)
def test_import_is_light(module: str) -> None:
    """Neither torch nor transformers nor datasets load with the light modules."""
    code = f"import sys, {module}; print(*({{'torch', 'transformers', 'datasets', 'pandas'}} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
