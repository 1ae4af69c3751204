"""Rectangles of pixels, in the coordinates of stored frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """Columns `left` ≤ c < `right`, rows `top` ≤ r < `bottom`; (0, 0) is the top left pixel."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def area(self) -> int:
        return max(0, self.width) * max(0, self.height)

    def clipped(self, rows: int, columns: int) -> Box:
        return Box(
            min(max(self.left, 0), columns),
            min(max(self.top, 0), rows),
            min(max(self.right, 0), columns),
            min(max(self.bottom, 0), rows),
        )

    def grown(self, by: int) -> Box:
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


def mask_of(boxes: Iterable[Box], rows: int, columns: int) -> np.ndarray:
    """Which pixels the boxes cover, (rows, columns) of bool."""
    mask = np.zeros((rows, columns), dtype=bool)
    for box in boxes:
        left, top, right, bottom = box.clipped(rows, columns)
        mask[top:bottom, left:right] = True
    return mask


def simplified(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """The same area without boxes that lie in another, in a stable order."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda b: (-b.area, b)):
        if box.area and not any(box.within(other) for other in kept):
            kept.append(box)
    return tuple(sorted(kept))
