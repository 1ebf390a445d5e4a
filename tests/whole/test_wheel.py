"""The package as users install it: a wheel with the built viewer, used outside the repository."""

import os
import re
import runpy
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SmallStudy
from tests.support.server_process import Server, get

ROOT = Path(__file__).parents[2]
VIEWERS = (ROOT / "sae-viewer" / "dist", ROOT / "build" / "viewer-e2e")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with a built viewer, in which packages can be built."""
    viewer = next((folder for folder in VIEWERS if (folder / "index.html").is_file()), None)
    if viewer is None:
        pytest.skip("the viewer is not built: make viewer-build")
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("sae_pipeline", "viz_analysis", "sae_explorer"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(viewer, copy / "sae-viewer" / "dist")
    return copy


@pytest.fixture(scope="module")
def packages(checkout: Path) -> Path:
    """The folder of an sdist and of a wheel that was built from it alone, without the viewer's sources or npm."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(checkout / "out"), str(checkout)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return checkout / "out"


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = packages.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")  # after the wheel's packages
    return commands


def test_contents(packages: Path) -> None:
    """The wheel holds the viewer, the kernels' sources and the sample, and nothing of the tests or of other builds."""
    (wheel,) = packages.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "sae_pipeline",
        "sae_explorer",
        "viz_analysis",
    }
    assert {"viz_analysis/web/viewer/index.html", "sae_pipeline/headlines/sample.txt"} <= {*names}
    licences = zipfile.ZipFile(wheel).read("viz_analysis/web/viewer/licenses.md").decode()
    for what in ("react", "@tanstack/react-query", "source-sans-3", "source-serif-4", "SIL OPEN FONT LICENSE"):
        assert what in licences
    (metadata,) = (zipfile.ZipFile(wheel).read(name).decode() for name in names if name.endswith("dist-info/METADATA"))
    assert "# FinBERT SAE Explorer" in metadata and not re.search(r"\]\((?!https?:|#)", metadata)
    for folder, suffixes in (("kernels", {".cpp", ".h"}), ("headlines", {".txt"})):
        sources = {p.name for p in (ROOT / "sae_pipeline" / folder).iterdir() if p.suffix in suffixes}
        assert sources == {Path(n).name for n in names if Path(n).parent.name == folder and Path(n).suffix in suffixes}
    python = {str(p.relative_to(ROOT)) for p in (ROOT / "sae_pipeline").rglob("*.py")}
    assert python <= {*names}
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("sae-viewer/dist/index.html") for name in archive.getnames())
    assert wheel.stat().st_size < 3e6


def test_links_of_the_readme_on_a_package_index() -> None:
    """Relative links lead into the repository, if its address is known; other links stay as they are."""
    for_an_index = runpy.run_path(str(ROOT / "setup.py"))["for_an_index"]
    text = "![A page](docs/a.png) [Guide](docs/guide.md#words), [uv](https://uv.example/), [here](#below)"
    assert for_an_index(text, None) == " Guide, [uv](https://uv.example/), [here](#below)"
    assert for_an_index(text, "https://host.example/me/it/") == (
        "![A page](https://host.example/me/it/raw/main/docs/a.png) "
        "[Guide](https://host.example/me/it/blob/main/docs/guide.md#words), [uv](https://uv.example/), [here](#below)"
    )


def test_extras_are_not_needed() -> None:
    """The heavy packages are extras, and the extra `all` holds the other extras of users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plain = " ".join(project["dependencies"])
    extras = project["optional-dependencies"]
    for package in ("jupyter", "matplotlib", "s3fs", "gcsfs"):
        assert package not in plain and any(package in " ".join(names) for names in extras.values())
    assert all(name in extras["all"][0] for name in ("notebook", "s3", "gs"))


def run(installed: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed command, run in a folder outside the repository."""
    command = [str(installed / "sae-explorer"), *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600
    )


def test_commands_outside_the_repository(installed: Path, study: SmallStudy, tmp_path: Path) -> None:
    """The version, a table that is understood, a mistake; nothing is written beside what is asked for."""
    from sae_pipeline import __version__

    assert run(installed, tmp_path, "--version").stdout == f"finbert-sae-explorer {__version__}\n"
    assert "800" in run(installed, tmp_path, "inspect", str(study.root / "headlines.csv")).stdout
    refused = run(installed, tmp_path, "serve", "--port", "0")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr and refused.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_serve(installed: Path, study: SmallStudy, tmp_path: Path) -> None:
    """`serve` in the study's folder serves its run and the viewer of the wheel, with the right types of content."""
    shutil.copytree(study.root / "analysis_data", tmp_path / "analysis_data")
    server = Server(program=[str(installed / "sae-explorer"), "serve"], folder=tmp_path)
    try:
        assert server.get("/api/run")["run_id"] == "run-001"
        page, kind = get(server.address + "/")
        assert kind.startswith("text/html")
        assets = re.findall(r"(?:src|href)=\"(?:\./)?([^\"]+\.(?:js|css|svg))\"", page)
        assert {Path(name).suffix for name in assets} == {".js", ".css", ".svg"}
        types = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        for name in assets:
            content, kind = get(f"{server.address}/{name.lstrip('/')}")
            assert types[Path(name).suffix] in kind and len(content) > 100
    finally:
        code, errors = server.stop(signal.SIGINT)
    assert code == 130 and "Traceback" not in errors


def test_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    """Plain torch does the kernels' work, and one line says so."""
    code = "from sae_pipeline.kernels.backend import choose; assert choose() is None"
    environment = {**os.environ, "PATH": "", "CXX": "", "SAE_KERNEL_CACHE": str(tmp_path)}
    command = [str(installed / "python"), "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    reason = "no C++ compiler (g++ or clang++) was found"
    assert done.stderr == f"SAE kernels: plain torch, several times slower, because {reason}.\n"


@pytest.mark.full
def test_from_nothing(packages: Path, tmp_path: Path) -> None:
    """pip installs the wheel with all it needs into an empty environment, and the command works there."""
    venv.create(tmp_path / "environment", with_pip=True)
    commands = tmp_path / "environment" / "bin"
    (wheel,) = packages.glob("*.whl")
    pip = [str(commands / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "torch==2.13.0", str(wheel)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    listed = subprocess.run([*pip[:1], "list"], capture_output=True, text=True).stdout
    assert not re.search(r"^(jupyter|matplotlib|s3fs|gcsfs) ", listed, re.M)
    done = run(
        commands, empty, "study", "--preset", "demo", "--epochs", "1", "--latent-dims", "256", "--sae-size", "256"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "no page with plots" in done.stdout
    server = Server(program=[str(commands / "sae-explorer"), "serve"], folder=empty)
    assert get(server.address + "/")[1].startswith("text/html")
    assert server.stop(signal.SIGTERM)[0] == 0
