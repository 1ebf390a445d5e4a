"""`python sae-viewer/bench/shrink_images.py FROM TO`: screenshots with a palette of their own, a third of the size."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

# Flat areas keep their very colour, what is rare (smoothed edges, small marks) gets one near it.
COMMON, RARE = 64, 192


def main(source: Path, target: Path) -> None:
    """Write every PNG of `source` into `target` and print what they take."""
    target.mkdir(parents=True, exist_ok=True)
    pictures = sorted(source.glob("*.png"))
    for path in pictures:
        with_palette(Image.open(path).convert("RGB")).save(target / path.name, optimize=True)
    total = sum((target / path.name).stat().st_size for path in pictures)
    print(f"{len(pictures)} pictures, {total / 1e6:.2f} MB in {target}")


def with_palette(image: Image.Image) -> Image.Image:
    """The RGB picture with at most 256 colours, each pixel with the nearest of them."""
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
