"""Hiding boxes in stored values, whatever they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.deidentify.pixels.boxes import Box, mask_of
from gateway.deidentify.pixels.stored import Opened
from gateway.deidentify.pixels.view import is_ybr


def fill_value(opened: Opened) -> tuple[int, ...]:
    """Stored value of black, per sample (PS3.3 C.7.6.3.1.2)."""
    layout = opened.layout
    if layout.photometric == "PALETTE COLOR":
        table, first = opened.palette
        return (int(np.argmin(table.astype(np.int32).sum(axis=1))) + int(first),)
    if layout.samples == 3:
        middle = 1 << (layout.stored - 1)
        return (0, middle, middle) if is_ybr(opened) else (0, 0, 0)
    bottom = -(1 << (layout.stored - 1)) if layout.signed else 0
    top = bottom + (1 << layout.stored) - 1
    # Not the end of the range of values but of those the frame has: signed CT padding would stretch every window
    return (top,) if layout.photometric == "MONOCHROME1" else (bottom,)


def blanked(opened: Opened, values: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """A copy of a frame in which the boxes are black.

    Parameters
    ----------
    values
        Stored values as `Opened.frame` gives them.

    Notes
    -----
    Grey frames are filled with the darkest value they have outside the boxes: black on the screen at every window,
    without adding a value that would stretch the range.
    """
    layout = opened.layout
    mask = mask_of(_even(boxes) if layout.subsampled else boxes, layout.rows, layout.columns)
    changed = values.copy()
    fill: tuple[int, ...] = fill_value(opened)
    if layout.samples == 1 and layout.photometric != "PALETTE COLOR" and not mask.all():
        rest = values[~mask]
        fill = (int(rest.max() if layout.photometric == "MONOCHROME1" else rest.min()),)
    changed[mask] = np.array(fill if layout.samples > 1 else fill[0], dtype=values.dtype)
    return changed


def _even(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that begin and end between pairs of pixels, which share their chrominance."""
    return [Box(b.left - b.left % 2, b.top, b.right + b.right % 2, b.bottom) for b in boxes]
