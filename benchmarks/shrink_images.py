"""`python -m benchmarks.shrink_images FROM TO`: screenshots with a palette of their own, a third of the size."""

import sys
from pathlib import Path

from PIL import Image

COLOURS = 256


def main(source: Path, target: Path) -> None:
    """Write every PNG of `source` into `target` and print what they take."""
    target.mkdir(parents=True, exist_ok=True)
    total = 0
    for path in sorted(source.glob("*.png")):
        image = (
            Image.open(path)
            .convert("RGB")
            .quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        image.save(target / path.name, optimize=True)
        total += (target / path.name).stat().st_size
    print(f"{len(list(source.glob('*.png')))} pictures, {total / 1e6:.2f} MB in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
