"""Stored values as pictures a detector, or a person, can look at."""

from __future__ import annotations

import numpy as np

from gateway.deidentify.pixels.codecs import stores_ybr
from gateway.deidentify.pixels.stored import Opened


def picture(opened: Opened, values: np.ndarray) -> np.ndarray:
    """One frame of stored values as (rows, columns, 3) of uint8.

    Grey values are spread from the darkest to the brightest: what is burned in lies at or near one of the ends.
    """
    layout = opened.layout
    if layout.photometric == "PALETTE COLOR":
        table, first = opened.palette
        return table[np.clip(values.astype(np.int64) - int(first), 0, len(table) - 1)]
    if layout.samples == 3:
        colours = _eight_bits(values, layout.stored)
        return _rgb(colours) if is_ybr(opened) else colours
    grey = _grey(values)
    if layout.photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def windowed(opened: Opened, values: np.ndarray) -> np.ndarray | None:
    """A second look at deep grey frames, at what the brightest few pixels outshine; None where it would be the same."""
    layout = opened.layout
    if layout.samples != 1 or layout.photometric == "PALETTE COLOR" or layout.allocated < 16:
        return None
    low, high = np.percentile(values, (1, 99))
    span = float(values.max()) - float(values.min())
    if high <= low or high - low > span / 2:
        return None
    grey = np.clip((values.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    if layout.photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def is_ybr(opened: Opened) -> bool:
    """Whether frames hold luminance and chrominance."""
    return stores_ybr(b"" if opened.is_native else opened.encoded(0)[:16], opened.layout)


def _grey(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8 and int(values.max()) > 63:
        return values
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return ((values.astype(np.float32) - low) * (255.0 / (high - low))).astype(np.uint8)


def _eight_bits(values: np.ndarray, stored: int) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    return (values.astype(np.int64) >> max(0, stored - 8)).clip(0, 255).astype(np.uint8)


def _rgb(ybr: np.ndarray) -> np.ndarray:
    """YBR_FULL to RGB (PS3.3 C.7.6.3.1.2)."""
    luminance = ybr[..., 0].astype(np.float32)
    blue, red = ybr[..., 1].astype(np.float32) - 128, ybr[..., 2].astype(np.float32) - 128
    rgb = np.stack(
        (luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue),
        axis=2,
    )
    return rgb.round().clip(0, 255).astype(np.uint8)
