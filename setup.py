"""Puts the built viewer into the package when a wheel is made. All else about the package is in pyproject.toml."""

from pathlib import Path
from shutil import copytree, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

VIEWER = Path(__file__).parent / "sae-viewer" / "dist"


class BuildWithViewer(build_py):
    """Copies what `npm run build` wrote to `viz_analysis/web/viewer/`; without it, the server's page says so."""

    def run(self) -> None:
        """Build the packages; an editable installation serves `sae-viewer/dist` itself."""
        super().run()
        if VIEWER.is_dir() and not self.editable_mode:
            target = Path(self.build_lib) / "viz_analysis" / "web" / "viewer"
            rmtree(target, ignore_errors=True)
            copytree(VIEWER, target)


setup(cmdclass={"build_py": BuildWithViewer})
