"""Stored values of a colour image → 8-bit RGB."""

from __future__ import annotations

import numpy as np

from viewer.rendering.attributes import Metadata
from viewer.rendering.decode import Decoded
from viewer.rendering.description import CannotDecode, PixelDescription
from viewer.rendering.lut import Fetch, palette


def display(decoded: Decoded, described: PixelDescription, metadata: Metadata, fetch: Fetch) -> np.ndarray:
    """The 8-bit RGB picture of a palette or true-colour frame.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns, 3), uint8.

    Raises
    ------
    CannotDecode
        If the photometric interpretation is none that can be shown.
    """
    pixels = decoded.pixels
    if decoded.photometric == "PALETTE COLOR":
        tables = palette(metadata, fetch, described.signed)
        return np.stack(
            [_to_8_bits(table.apply(pixels), _palette_bits(table.entries)) for table in tables], axis=-1
        )
    if pixels.ndim != 3 or decoded.photometric not in ("RGB", "YBR_FULL", "YBR_ICT", "YBR_RCT", "ARGB"):
        raise CannotDecode("the photometric interpretation cannot be shown")
    if pixels.shape[2] == 4:
        pixels = pixels[..., 1:] if decoded.photometric == "ARGB" else pixels[..., :3]
    return _to_8_bits(pixels, described.bits_stored)


def _palette_bits(entries: np.ndarray) -> int:
    """8-bit entries are found in tables that say 16: what counts is what is there (PS3.3 C.7.6.3.1.6)."""
    return 8 if int(entries.max(initial=0)) < 256 else 16


def _to_8_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    if bits <= 8:
        scale = 255 // ((1 << bits) - 1)
        return (pixels * scale).astype(np.uint8) if scale > 1 else pixels.astype(np.uint8, copy=False)
    return np.right_shift(pixels, np.array(bits - 8, pixels.dtype)).astype(np.uint8)
