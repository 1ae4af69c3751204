"""Shape of a rendered picture: square pixels, the source region, the viewport (PS3.18 8.3.5.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from config.errors import Invalid
from viewer.rendering.attributes import Metadata, functional_group, numbers

LARGEST = 8192
"""Largest width or height that is rendered, in pixels."""


@dataclass(frozen=True, slots=True)
class Viewport:
    """Where the picture goes.

    Parameters
    ----------
    width, height
        Of the viewport, in pixels; the picture is scaled to fill it without distortion.
    region
        Left, top, width and height of the part of the image to show, in its pixels; negative sizes flip.
    """

    width: int
    height: int
    region: tuple[float, float, float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> Viewport:
        """Read ``vw,vh`` or ``vw,vh,sx,sy,sw,sh``; omitted numbers take the whole image."""
        parts = text.split(",")
        try:
            width, height = int(parts[0]), int(parts[1])
            region = None
            if len(parts) == 6 and any(part.strip() for part in parts[2:]):
                left, top = (float(part or 0) for part in parts[2:4])
                region = (left, top, float(parts[4] or "inf"), float(parts[5] or "inf"))
            elif len(parts) not in (2, 6):
                raise ValueError
        except (ValueError, IndexError):
            raise Invalid(
                "viewport must be vw,vh or vw,vh,sx,sy,sw,sh, for example viewport=512,512"
            ) from None
        if not (0 < width <= LARGEST and 0 < height <= LARGEST):
            raise Invalid(f"the viewport's width and height must be 1 to {LARGEST}")
        if region is not None and (any(v != v for v in region) or 0 in region[2:] or min(region[:2]) < 0):
            raise Invalid("the viewport's source region must begin inside the image and have a size")
        return cls(width, height, region)


def aspect(metadata: Metadata, frame: int) -> float:
    """Height of a pixel over its width (PS3.3 C.7.6.3.1.7, 10.7.1.3); 1 where nothing usable is said."""
    measures = functional_group(metadata, frame, "PixelMeasuresSequence") or metadata
    for source, keyword in (
        (measures, "PixelSpacing"),
        (metadata, "ImagerPixelSpacing"),
        (metadata, "PixelAspectRatio"),
    ):
        pair = numbers(source, keyword)
        if len(pair) >= 2 and pair[0] > 0 and pair[1] > 0:
            ratio = pair[0] / pair[1]
            return ratio if 0.1 <= ratio <= 10 and abs(ratio - 1) > 0.005 else 1.0
    return 1.0


def fit(image: Image.Image, ratio: float, viewport: Viewport | None) -> Image.Image:
    """Crop, make pixels square, scale to the viewport."""
    if viewport is not None and viewport.region is not None:
        image = _crop(image, viewport.region)
    width, height = float(image.width), float(image.height)
    if ratio > 1:
        height *= ratio
    else:
        width /= ratio
    scale = min(1.0, LARGEST / max(width, height))
    if viewport is not None:
        scale = min(viewport.width / width, viewport.height / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == image.size:
        return image
    shrinking = size[0] * size[1] < image.width * image.height
    method = (
        Image.Resampling.BOX if shrinking and max(image.size) > 4 * max(size) else Image.Resampling.BILINEAR
    )
    return image.resize(size, method)


def _crop(image: Image.Image, region: tuple[float, float, float, float]) -> Image.Image:
    left, top, width, height = region
    right, bottom = min(left + abs(width), image.width), min(top + abs(height), image.height)
    box = (int(left), int(top), int(right), int(bottom))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise Invalid("the viewport's source region lies outside the image")
    image = image.crop(box)
    if width < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if height < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image
