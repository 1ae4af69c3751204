"""Stored values of a grey image → 8-bit display values: the greyscale pipeline of PS3.4 N.2.

Modality LUT or rescale, then VOI LUT or window, then polarity. For integers of up to 16 bits the whole pipeline runs
once over the values that occur and becomes one table, so a frame costs a single lookup per pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from viewer.rendering.attributes import Metadata, first, functional_group, numbers, text, values
from viewer.rendering.description import PixelDescription
from viewer.rendering.lut import Fetch, LookupTable, table

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2), in units of the modality (Hounsfield units for CT)."""

    center: float
    width: float
    function: str = "LINEAR"

    def apply(self, modality: np.ndarray) -> np.ndarray:
        """Map to 0…1."""
        x = modality.astype(np.float64, copy=False)
        if self.function == "SIGMOID":
            return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((x - self.center) / self.width + 0.5, 0.0, 1.0)
        if self.width <= 1:
            return (x > self.center - 0.5).astype(np.float64)
        return np.clip((x - (self.center - 0.5)) / (self.width - 1) + 0.5, 0.0, 1.0)


def display(
    pixels: np.ndarray,
    described: PixelDescription,
    metadata: Metadata,
    frame: int,
    fetch: Fetch,
    window: Window | None = None,
) -> np.ndarray:
    """The 8-bit picture of a grey frame.

    Parameters
    ----------
    pixels
        Shape (rows, columns), stored values.
    metadata
        DICOM JSON model of the instance, with functional groups if it has them.
    frame
        Number of the frame, 1-based.
    window
        Replaces the data set's own; by default its first VOI LUT or window, else the range of the frame.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns), uint8, white is 255.
    """
    modality = _modality(metadata, frame, fetch, described.signed)
    voi = _voi(metadata, frame, fetch, described, window)

    def pipeline(stored: np.ndarray, shown: np.ndarray) -> np.ndarray:
        values_ = modality(stored)
        unit = voi(values_) if voi is not None else _stretch(values_, modality(shown))
        if _inverted(described, metadata):
            unit = 1.0 - unit
        return np.rint(unit * 255.0).astype(np.uint8)

    shown = _without_padding(pixels, metadata)
    if pixels.dtype.kind in "iu" and pixels.size:
        low, high = int(pixels.min()), int(pixels.max())
        if high - low < 1 << 16:
            domain = np.arange(low, high + 1, dtype=np.int64)
            lookup = pipeline(domain, shown)
            if low == 0 or pixels.dtype.itemsize > 2:
                return lookup[pixels if low == 0 else pixels.astype(np.int64) - low]
            return lookup[pixels.astype(np.int32) - low]
    return pipeline(pixels, shown)


def _modality(
    metadata: Metadata, frame: int, fetch: Fetch, signed: bool
) -> Callable[[np.ndarray], np.ndarray]:
    group = functional_group(metadata, frame, "PixelValueTransformationSequence") or metadata
    items = values(metadata, "ModalityLUTSequence")
    if items:
        return table(items[0], fetch, signed).apply
    slope = (numbers(group, "RescaleSlope") or (1.0,))[0]
    intercept = (numbers(group, "RescaleIntercept") or (0.0,))[0]
    if (slope, intercept) == (1.0, 0.0) or not np.isfinite([slope, intercept]).all():
        return lambda stored: stored
    return lambda stored: stored * slope + intercept


def _voi(
    metadata: Metadata, frame: int, fetch: Fetch, described: PixelDescription, window: Window | None
) -> Callable[[np.ndarray], np.ndarray] | None:
    if window is not None:
        return window.apply
    group = functional_group(metadata, frame, "FrameVOILUTSequence") or metadata
    items = values(group, "VOILUTSequence")
    if items:
        found = table(items[0], fetch, described.signed)
        return lambda modality: _unit(found, modality)
    own = own_window(group)
    return None if own is None else own.apply


def own_window(metadata: Metadata) -> Window | None:
    """The first window of a data set, or None if it has none that can be used."""
    center, width = numbers(metadata, "WindowCenter"), numbers(metadata, "WindowWidth")
    if not center or not width or not np.isfinite([center[0], width[0]]).all() or width[0] <= 0:
        return None
    function = text(metadata, "VOILUTFunction").strip().upper() or "LINEAR"
    if function not in FUNCTIONS or (function == "LINEAR" and width[0] < 1):
        function = "LINEAR_EXACT"
    return Window(center[0], width[0], function)


def _unit(found: LookupTable, modality: np.ndarray) -> np.ndarray:
    entries = found.apply(np.rint(modality))
    # Some write 16 as the depth of tables that use fewer bits; the largest entry tells.
    top = max((1 << found.bits) - 1, 1)
    largest = int(found.entries.max(initial=0))
    if 0 < largest <= top >> 1:
        top = (1 << largest.bit_length()) - 1
    return np.clip(entries / top, 0.0, 1.0)


def _stretch(modality: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """No window given: the range of what is there."""
    finite = shown[np.isfinite(shown)] if shown.dtype.kind == "f" else shown
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    unit = (modality.astype(np.float64, copy=False) - low) / ((high - low) or 1.0)
    return np.clip(np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def _without_padding(pixels: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Pixels of the image proper: Pixel Padding Value (0028,0120) does not belong to it (PS3.3 C.7.5.1.1.2)."""
    padding = first(metadata, "PixelPaddingValue")
    if not isinstance(padding, int):
        return pixels
    limit = first(metadata, "PixelPaddingRangeLimit", padding)
    low, high = sorted((padding, limit if isinstance(limit, int) else padding))
    kept = pixels[(pixels < low) | (pixels > high)]
    return kept if kept.size else pixels


def _inverted(described: PixelDescription, metadata: Metadata) -> bool:
    """MONOCHROME1 shows its lowest value white; so does a Presentation LUT Shape of INVERSE (PS3.3 C.11.6.1.2)."""
    return described.photometric == "MONOCHROME1" or text(metadata, "PresentationLUTShape") == "INVERSE"
