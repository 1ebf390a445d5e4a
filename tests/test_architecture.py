"""The house rules: imports flow one way, importing loads nothing heavy, the README names what exists."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"errors", "schema", "config", "artefacts", "kernels", "text", "sample", "compact_json", "tables", "device"}
    | {"firings", "processes"},
    {"headlines", "tokens", "sae", "kinds", "checkpoints", "batches", "json_records", "run_fit"}
    | {"feature_stats", "words", "neighbours"},
    {"runs", "remote"},
    {"run_drafts", "run_tables"},
    {"headline_tables", "feature_tables"},
    {"run_index"},
    {"classifier", "activations", "training", "evidence", "examples", "remote_study"},
    {"shortcuts"},
    {"features", "effects", "layout", "finetuning", "store"},
    {"analysis", "export"},
    {"interventions"},
    {"attribution"},
    {"evaluation", "end_to_end", "controls", "family"},
    {"causal"},
    {"pipeline", "report"},
    {"quality"},
    {"plots"},
    {"training_report"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}


def imported_modules(path: Path) -> set[str]:
    """Modules of sae_pipeline that a file imports, by their first name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sae_pipeline."):
            found.add((node.module or "").split(".")[1])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "sae_pipeline").glob("*.py")), ids=lambda p: p.stem)
def test_imports_go_down(path: Path) -> None:
    """A module imports lower layers only; within the lowest, anything that closes no circle."""
    if path.stem == "__init__":
        assert not imported_modules(path)
        return
    for module in imported_modules(path) & LEVEL.keys():
        assert LEVEL[module] < LEVEL[path.stem] or LEVEL[path.stem] == 0, f"{path.stem} imports {module}"


def test_lowest_layer_has_no_circles() -> None:
    """Following imports among the lowest modules ends."""
    graph = {
        m: imported_modules(ROOT / "sae_pipeline" / f"{m}.py") & LAYERS[0]
        for m in LAYERS[0]
        if m != "kernels" and (ROOT / "sae_pipeline" / f"{m}.py").is_file()
    }
    while graph:
        leaves = {m for m, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"circle among {sorted(graph)}"
        graph = {m: needs for m, needs in graph.items() if m not in leaves}


def test_library_knows_nothing_of_server_and_viewer() -> None:
    """No module of the library imports viz_analysis."""
    for path in (ROOT / "sae_pipeline").rglob("*.py"):
        assert "viz_analysis" not in path.read_text(encoding="utf-8").replace("`viz_analysis", "")


@pytest.mark.parametrize(
    "module", ["sae_pipeline", "sae_pipeline.config", "sae_pipeline.runs", "sae_pipeline.headlines"]
)
def test_import_is_light(module: str) -> None:
    """Neither torch nor transformers nor datasets load with the light modules."""
    code = f"import sys, {module}; print(*({{'torch', 'transformers', 'datasets', 'pandas'}} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


class TestReadme:
    """Documentation is tested: what it names exists."""

    text = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""

    def test_make_targets(self) -> None:
        """Every `make x` is a target."""
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
        named = set(re.findall(r"\bmake ([a-z][\w-]*)", self.text))
        assert named and named <= targets

    def test_verbs_and_flags(self) -> None:
        """Every `python -m sae_pipeline verb --flag` parses."""
        from sae_pipeline.__main__ import _parser

        commands = re.findall(r"python -m sae_pipeline ([a-z][^`\n#]*)", self.text)
        assert commands
        for command in commands:
            _parser().parse_args(command.replace("…", "x").split())

    def test_files(self) -> None:
        """Every source file that the README's list names exists, and every source file is named."""
        listing = self.text.split("## Files")[1].split("\n## ")[0]
        named = set(re.findall(r"`([\w/.-]+\.(?:py|tsx?|ipynb|txt|toml|cpp|h))`", listing))
        missing = {name for name in named if not (ROOT / name).is_file()}
        assert not missing
        sources = {
            str(p.relative_to(ROOT))
            for folder in ("sae_pipeline", "viz_analysis")
            for p in (ROOT / folder).rglob("*.*")
            if p.suffix in {".py", ".cpp", ".h"} and p.name != "__init__.py"
        }
        assert sources <= named, f"README's file list lacks {sorted(sources - named)}"

    def test_notebook_parameters(self) -> None:
        """The user's parameters stand in the README and in the notebook's one parameters cell."""
        notebook = (ROOT / "Sentiment_Classification.ipynb").read_text(encoding="utf-8")
        for name in (
            "LAYER_TO_EXTRACT",
            "LATENT_DIMS",
            "L1_COEFFICIENT",
            "NUM_EPOCHS",
            "SAE_SIZE",
            "MAX_SAMPLES",
            "TOP_FEATURES",
            "TOP_TOKENS_PER_FEATURE",
        ):
            assert f"`{name}`" in self.text or f"\n{name} =" in self.text
            assert f'"{name} =' in notebook

    def test_endpoints(self) -> None:
        """Every endpoint that the README names is in the OpenAPI description, and the other way round."""
        openapi = (ROOT / "sae-viewer" / "openapi.json").read_text(encoding="utf-8")
        named = set(re.findall(r"`(?:GET |PUT |POST )?(/api/[\w.]+)", self.text)) - {"/api/openapi.json"}
        described = set(re.findall(r'"(/api/[\w.]+)":', openapi))
        assert named == described
