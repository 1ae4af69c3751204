"""Finding text in every frame of an instance without reading every frame twice.

A run of frames (a stretch of a cine loop) is looked at so:

* the darkest and the brightest value each pixel has within the run: text that stays is brighter (or darker) than
  anything that moves behind it, and is seen more clearly there than in any single frame;
* the first frame of the run, at the same magnification;
* every other frame as it is, not magnified, unless it equals one already looked at: text that comes for one frame.

What is found hides in all frames of its run, so text is hidden also where it fades.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.deidentify.pixels.boxes import Box, mask_of, simplified
from gateway.deidentify.pixels.detector import PERMISSIVE, STRICT, Detector, Strictness
from gateway.deidentify.pixels.stored import Opened
from gateway.deidentify.pixels.view import picture, windowed

RUN = 16
"""Frames of one run."""

_LARGE = 1600
"""Rows or columns from which on text is large enough to be seen without magnification."""

_BLACK = 3
"""Of 255: nobody can read what is no brighter than this on black."""

_MARGIN = 16

_STRICT_MODALITIES = frozenset({"CT", "MR", "PT", "NM", "MG", "CR", "DX", "RTIMAGE"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class Findings:
    """What was found.

    Parameters
    ----------
    boxes
        For each frame the boxes of text, without those hidden anyway.
    looks
        How often the detector was asked.
    """

    boxes: list[tuple[Box, ...]] = field(default_factory=list)
    looks: int = 0

    @property
    def found(self) -> bool:
        return any(self.boxes)


def strictness_of(opened: Opened) -> Strictness:
    """Permissive where text is usual; strict for grey images of CT, MR, PT, NM, MG and projection radiography.

    A secondary capture of those is a screen, and permissive, unless it has more grey levels than a screen.
    """
    layout = opened.layout
    if layout.samples == 3 or layout.photometric == "PALETTE COLOR":
        return PERMISSIVE
    if opened.sop_class_uid.startswith(_SECONDARY_CAPTURE) and layout.stored <= 8:
        return PERMISSIVE
    return STRICT if opened.modality in _STRICT_MODALITIES else PERMISSIVE


def search(
    opened: Opened, detector: Detector, hide: Sequence[Box] = (), alive: Callable[[], None] = lambda: None
) -> Findings:
    """Look for text in all frames.

    Parameters
    ----------
    hide
        Hidden whatever is found; black already when the detector looks.
    alive
        Called between two looks, so that whoever waits knows that work goes on.

    Raises
    ------
    Doubtful
        A frame cannot be decoded.
    """
    layout = opened.layout
    covered = mask_of(hide, layout.rows, layout.columns)
    strictness = strictness_of(opened)
    findings = Findings()
    seen: dict[bytes, tuple[Box, ...]] = {}
    for start in range(0, layout.frames, RUN):
        frames = range(start, min(start + RUN, layout.frames))
        looked = _Run(opened, detector, strictness, covered, alive)
        boxes = simplified(looked.search(frames, seen))
        findings.boxes += [boxes] * len(frames)
        findings.looks += looked.looks
    return findings


class _Run:
    """One run of frames."""

    def __init__(
        self,
        opened: Opened,
        detector: Detector,
        strictness: Strictness,
        covered: np.ndarray,
        alive: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._detector = detector
        self._strictness = strictness
        self._covered = covered
        self._alive = alive
        layout = opened.layout
        self._scale = 1 if max(layout.rows, layout.columns) >= _LARGE else 2
        self.looks = 0

    def search(self, frames: range, seen: dict[bytes, tuple[Box, ...]]) -> Iterable[Box]:
        """Boxes anywhere in the run; `seen` remembers frames by their bytes, across runs."""
        found: list[Box] = []
        darkest = brightest = None
        distinct = 0
        for frame in frames:
            self._alive()
            digest = hashlib.sha256(self._opened.encoded(frame)).digest()
            if digest in seen:
                found += seen[digest]
                continue
            values = self._opened.frame(frame)
            shown = self._shown(values)
            scale = self._scale if distinct == 0 else 1
            seen[digest] = tuple(self._look(shown, scale))
            second = windowed(self._opened, values) if distinct == 0 or scale > 1 else None
            if second is not None:
                second[self._covered] = 0
                seen[digest] += tuple(self._look(second, scale))
            found += seen[digest]
            darkest = shown if darkest is None else np.minimum(darkest, shown)
            brightest = shown if brightest is None else np.maximum(brightest, shown)
            distinct += 1
        if distinct > 1 and darkest is not None and brightest is not None:
            found += self._look(darkest, self._scale)
            found += self._look(brightest, self._scale)
        return found

    def _shown(self, values: np.ndarray) -> np.ndarray:
        shown = np.array(picture(self._opened, values))
        shown[self._covered] = 0
        return shown

    def _look(self, shown: np.ndarray, scale: int) -> list[Box]:
        self._alive()
        self.looks += 1
        lit = _lit(shown)
        if lit is None:
            return []
        part = np.ascontiguousarray(shown[lit.top : lit.bottom, lit.left : lit.right])
        found = self._detector.find(part, self._strictness, scale, of_rows=shown.shape[0])
        return [
            Box(b.left + lit.left, b.top + lit.top, b.right + lit.left, b.bottom + lit.top) for b in found
        ]


def _lit(shown: np.ndarray) -> Box | None:
    """The part of a picture that is not black, with a margin; None when all of it is."""
    rows, columns = shown.shape[:2]
    bright = shown.max(axis=2) > _BLACK
    down, across = bright.any(axis=1).nonzero()[0], bright.any(axis=0).nonzero()[0]
    if not len(down):
        return None
    lit = Box(int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1)
    return lit.grown(_MARGIN).clipped(rows, columns)
