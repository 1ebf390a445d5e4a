"""Shrink screenshots to a third of their size by a palette: `python sae-viewer/bench/shrink_images.py FROM TO`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

# Common colours (flat areas) are kept; rare ones (smoothed edges, small marks) are replaced by a similar one.
COMMON, RARE = 64, 192


def main(source: Path, target: Path) -> None:
    """Write every PNG of `source` into `target` with a palette, and print their number and total size."""
    target.mkdir(parents=True, exist_ok=True)
    pictures = sorted(source.glob("*.png"))
    for path in pictures:
        with_palette(Image.open(path).convert("RGB")).save(target / path.name, optimize=True)
    total = sum((target / path.name).stat().st_size for path in pictures)
    print(f"{len(pictures)} pictures, {total / 1e6:.2f} MB in {target}")


def with_palette(image: Image.Image) -> Image.Image:
    """Return the RGB image with at most 256 colours, each pixel with the nearest one."""
    pixels = np.asarray(image).reshape(-1, 3)
    colours, which, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    common = colours[np.argsort(-counts, kind="stable")[:COMMON]]
    rare = image.quantize(RARE, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = np.concatenate([common, np.array(rare[: 3 * RARE], np.uint8).reshape(-1, 3)])
    distance = ((colours[:, None].astype(int) - palette[None].astype(int)) ** 2).sum(-1)
    small = Image.fromarray(distance.argmin(1)[which].reshape(image.height, image.width).astype(np.uint8), "P")
    small.putpalette(palette.tobytes())
    return small


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
