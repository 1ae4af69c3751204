"""Screening one file: what is to be hidden is found, hidden, and said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gateway.deidentify.pixels import codecs
from gateway.deidentify.pixels.blank import blanked
from gateway.deidentify.pixels.boxes import Box, mask_of
from gateway.deidentify.pixels.detector import Detector
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.regions import hidden
from gateway.deidentify.pixels.rewrite import native_bytes, write
from gateway.deidentify.pixels.search import Findings, search
from gateway.deidentify.pixels.stored import Opened

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_BURNED_IN = 0x00280301

MOST_TEXT = 0.15
"""Share of a captured screen that text may cover before a person has to say whether anything of use is left."""

MOST_BOXES = 60


@dataclass(frozen=True, slots=True)
class Report:
    """What was done to the pixels of one instance; goes into the certificate. Nothing here says what a text said.

    Parameters
    ----------
    frames, frames_changed
        Of the instance, and how many were written again.
    boxes
        Distinct boxes of text.
    rules
        Device rules and ultrasound regions applied.
    hidden
        Share of all pixels that are black now and were not before, 0 to 1.
    looks
        How often the detector was asked.
    """

    frames: int
    frames_changed: int
    boxes: int
    rules: tuple[str, ...]
    hidden: float
    looks: int

    def as_details(self) -> dict[str, Any]:
        return asdict(self) | {"rules": list(self.rules), "hidden": round(self.hidden, 6)}


def screen(
    source: Path, target: BinaryIO, detector: Detector, alive: Callable[[], None] = lambda: None
) -> Report:
    """Screen one de-identified instance and write the clean one.

    Parameters
    ----------
    source
        A Part 10 file of the spool.
    target
        Where the clean instance goes; whatever is in it after an exception is to be thrown away.
    alive
        Called now and then while work goes on.

    Raises
    ------
    Doubtful
        A person has to look.
    """
    opened = Opened(source)
    by_rule = hidden(opened)
    findings = search(opened, detector, by_rule.boxes, alive)
    _check_doubts(opened, findings, bool(by_rule.boxes))
    boxes = [(*by_rule.boxes, *found) for found in findings.boxes]
    changed, share = hide(opened, boxes, alive)
    write(opened, target, changed, lossy=bool(changed) and codecs.is_lossy(opened.syntax))
    return Report(
        frames=opened.layout.frames,
        frames_changed=len(changed),
        boxes=len({box for found in findings.boxes for box in found}),
        rules=by_rule.rules,
        hidden=share,
        looks=findings.looks,
    )


def redact(
    source: Path, target: BinaryIO, boxes: Sequence[Sequence[Box]], alive: Callable[[], None] = lambda: None
) -> Report:
    """Hide what a person drew, and nothing else, and write the clean instance.

    Parameters
    ----------
    boxes
        For each frame its boxes; a single entry stands for all frames.
    """
    opened = Opened(source)
    per_frame = list(boxes) * (opened.layout.frames if len(boxes) == 1 else 1)
    if len(per_frame) != opened.layout.frames:
        raise Doubtful("burned-in-text", "boxes for another number of frames")
    changed, share = hide(opened, per_frame, alive)
    write(opened, target, changed, lossy=bool(changed) and codecs.is_lossy(opened.syntax))
    return Report(
        frames=opened.layout.frames,
        frames_changed=len(changed),
        boxes=len({box for frame in per_frame for box in frame}),
        rules=("a person",),
        hidden=share,
        looks=0,
    )


def hide(
    opened: Opened, boxes: Sequence[Sequence[Box]], alive: Callable[[], None]
) -> tuple[dict[int, bytes], float]:
    """New bytes of every frame that boxes change, and the share of all pixels that changed."""
    changed: dict[int, bytes] = {}
    pixels = 0
    done: dict[tuple[bytes, tuple[Box, ...]], tuple[bytes, int]] = {}
    for frame, frame_boxes in enumerate(boxes):
        if not frame_boxes:
            continue
        alive()
        original = opened.encoded(frame)
        key = (original, tuple(frame_boxes)) if len(original) < 1 << 20 else None
        if key is not None and key in done:  # frozen frames at the end of a loop
            changed[frame], count = done[key]
            pixels += count
            continue
        values = opened.frame(frame)
        clean = blanked(opened, values, frame_boxes)
        differs = clean != values
        count = int((differs.any(axis=2) if differs.ndim == 3 else differs).sum())
        if not count:
            continue
        changed[frame] = _encoded(opened, clean, original)
        pixels += count
        if key is not None and len(done) < 64:
            done[key] = (changed[frame], count)
    layout = opened.layout
    return changed, pixels / (layout.rows * layout.columns * layout.frames)


def _encoded(opened: Opened, values: np.ndarray, original: bytes) -> bytes:
    if opened.is_native:
        return native_bytes(opened, values)
    try:
        return codecs.encode(opened.syntax, values, original, opened.layout)
    except codecs.Unencodable as error:
        raise Doubtful("uncleanable-pixels", str(error)) from None


def _check_doubts(opened: Opened, findings: Findings, by_rule: bool) -> None:
    if opened.text(_BURNED_IN) == "YES" and not findings.found and not by_rule:
        raise Doubtful("burned-in-annotation")
    if not (opened.sop_class_uid.startswith(_SECONDARY_CAPTURE) or opened.modality in ("OT", "SC", "DOC")):
        return
    layout = opened.layout
    for boxes in set(findings.boxes):
        share = float(mask_of(boxes, layout.rows, layout.columns).mean())
        if share > MOST_TEXT or len(boxes) > MOST_BOXES:
            raise Doubtful("burned-in-text", f"{len(boxes)} boxes over {share:.0%} of a captured screen")
