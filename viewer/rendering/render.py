"""One frame → one PNG or JPEG: the Rendered resources of PS3.18 10.4.1.1.2."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from viewer.rendering import colour, grey
from viewer.rendering.attributes import Metadata
from viewer.rendering.decode import decode
from viewer.rendering.description import PixelDescription
from viewer.rendering.geometry import Viewport, aspect, fit
from viewer.rendering.grey import Window
from viewer.rendering.lut import Fetch

MEDIA_TYPES = ("image/jpeg", "image/png")


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose about a rendering (PS3.18 8.3.5).

    Parameters
    ----------
    media_type
        One of `MEDIA_TYPES`.
    quality
        Of a JPEG, 1 to 100.
    window
        Replaces the window of a grey image.
    viewport
        Size and part to render; by default the whole image in its own size.
    """

    media_type: str = "image/jpeg"
    quality: int = 90
    window: Window | None = None
    viewport: Viewport | None = None


def render(
    encoded: bytes,
    described: PixelDescription,
    metadata: Metadata,
    frame: int,
    fetch: Fetch,
    options: Options,
) -> bytes:
    """Render one frame.

    Parameters
    ----------
    encoded
        The frame as stored.
    metadata
        DICOM JSON model of the instance.
    frame
        Number of the frame, 1-based.
    fetch
        Brings bulk values of `metadata`.

    Raises
    ------
    CannotDecode
        If the frame cannot be decoded or shown.
    """
    decoded = decode(described, encoded)
    if decoded.pixels.ndim == 2 and decoded.photometric != "PALETTE COLOR":
        picture = grey.display(decoded.pixels, described, metadata, frame, fetch, options.window)
    else:
        picture = colour.display(decoded, described, metadata, fetch)
    image = fit(Image.fromarray(np.ascontiguousarray(picture)), aspect(metadata, frame), options.viewport)
    out = io.BytesIO()
    if options.media_type == "image/png":
        image.save(out, "PNG", compress_level=4)
    else:
        image.save(out, "JPEG", quality=options.quality)
    return out.getvalue()
