"""Puts the built viewer and the README into the package. All else about the package is in pyproject.toml."""

import re
import tomllib
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VIEWER = ROOT / "sae-viewer" / "dist"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^]]*)\]\((?P<path>[^)\s]+)\)")


class BuildWithViewer(build_py):
    """Copies what `npm run build` wrote to `viz_analysis/web/viewer/`; without it, the server's page says so."""

    def run(self) -> None:
        """Build the packages; an editable installation serves `sae-viewer/dist` itself."""
        super().run()
        if VIEWER.is_dir() and not self.editable_mode:
            target = Path(self.build_lib) / "viz_analysis" / "web" / "viewer"
            rmtree(target, ignore_errors=True)
            copytree(VIEWER, target, ignore=ignore_patterns("onnxruntime"))  # ten times as large as all the rest


def for_an_index(readme: str, repository: str | None) -> str:
    """The README for a package index, where relative links lead nowhere.

    They become links into the repository. Without its address, their text stays and their images are left out.
    """

    def changed(link: re.Match[str]) -> str:
        image, text, path = link.group("image", "text", "path")
        if re.match(r"[a-z]+:|#", path):
            return link[0]
        if repository is None:
            return "" if image else text
        return f"{image}[{text}]({repository.rstrip('/')}/{'raw' if image else 'blob'}/main/{path})"

    return _LINK.sub(changed, readme)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        cmdclass={"build_py": BuildWithViewer},
        long_description=for_an_index(
            (ROOT / "README.md").read_text(encoding="utf-8"), project.get("urls", {}).get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
