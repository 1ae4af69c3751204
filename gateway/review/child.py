"""The process that decodes what a person looks at: the same limits as the one that screens.

One job a line on standard input, as JSON with ``do`` (a key of `JOBS`) and ``source``; answers as in
`gateway.deidentify.pixels.child`. Pictures and clean instances go to the file descriptor given as argument.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from gateway.deidentify.pixels.boxes import Box
from gateway.deidentify.pixels.child import BEAT, limit
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.regions import hidden
from gateway.deidentify.pixels.screen import redact
from gateway.deidentify.pixels.search import search
from gateway.deidentify.pixels.stored import Opened
from gateway.deidentify.pixels.view import picture, windowed

Alive = Callable[[], None]


def describe(job: dict[str, Any], _target: BinaryIO, _alive: Alive) -> dict[str, Any]:
    """How many frames there are, and of which size."""
    opened = Opened(Path(job["source"]))
    layout = opened.layout
    return {
        "frames": layout.frames,
        "rows": layout.rows,
        "columns": layout.columns,
        "modality": opened.modality,
        "deep": layout.samples == 1 and layout.allocated >= 16,
    }


def show(job: dict[str, Any], target: BinaryIO, _alive: Alive) -> dict[str, Any]:
    """One frame as PNG, at its own size; ``contrast`` shows tissue where the full range of values hides it."""
    opened = Opened(Path(job["source"]))
    values = opened.frame(int(job["frame"]))
    made = windowed(opened, values) if job.get("contrast") else None
    if made is None:
        made = picture(opened, values)
    grey = opened.layout.samples == 1 and opened.layout.photometric != "PALETTE COLOR"
    Image.fromarray(made[..., 0] if grey else made).save(target, "PNG", compress_level=1)
    return {}


def find(job: dict[str, Any], _target: BinaryIO, alive: Alive) -> dict[str, Any]:
    """The boxes screening would hide, as [left, top, right, bottom, first frame, last frame], frames from 1."""
    opened = Opened(Path(job["source"]))
    by_rule = hidden(opened)
    findings = search(opened, _detector(), by_rule.boxes, alive)
    frames = opened.layout.frames
    boxes = [[*box, 1, frames] for box in by_rule.boxes]
    return {"boxes": boxes + _runs(findings.boxes), "rules": list(by_rule.rules)}


def hide(job: dict[str, Any], target: BinaryIO, alive: Alive) -> dict[str, Any]:
    """Write the instance with the boxes a person drew hidden, after every frame has been decoded."""
    opened = Opened(Path(job["source"]))
    layout = opened.layout
    frames: list[list[Box]] = [[] for _ in range(layout.frames)]
    for left, top, right, bottom, first, last in job["boxes"]:
        box = Box(left, top, right, bottom).clipped(layout.rows, layout.columns)
        if box.area:
            for frame in range(max(1, first), min(last, layout.frames) + 1):
                frames[frame - 1].append(box)
    for frame in range(layout.frames):  # what cannot be shown was not looked at
        alive()
        opened.frame(frame)
    return redact(Path(job["source"]), target, frames, alive).as_details()


JOBS: dict[str, Callable[[dict[str, Any], BinaryIO, Alive], dict[str, Any]]] = {
    "describe": describe,
    "show": show,
    "find": find,
    "hide": hide,
}


@lru_cache(maxsize=1)
def _detector() -> Any:
    from gateway.deidentify.pixels.detector import Detector

    return Detector()


def _runs(frames: Sequence[Sequence[Box]]) -> list[list[int]]:
    """Boxes of each frame → boxes with the first and last frame of each stretch they are in."""
    runs: list[list[int]] = []
    last: dict[Box, list[int]] = {}
    for number, boxes in enumerate(frames, 1):
        for box in boxes:
            run = last.get(box)
            if run is not None and run[5] == number - 1:
                run[5] = number
            else:
                last[box] = [*box, number, number]
                runs.append(last[box])
    return runs


def main() -> None:
    """Answer jobs until standard input ends."""
    limit()
    out_descriptor = int(sys.argv[1])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries print is no answer
    last = 0.0

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT:
            last = time.monotonic()
            answer({"alive": True})

    answer({"ready": True})
    for line in sys.stdin:
        answer(_work(json.loads(line), out_descriptor, alive))


def _work(job: dict[str, Any], out_descriptor: int, alive: Alive) -> dict[str, Any]:
    os.ftruncate(out_descriptor, 0)
    os.lseek(out_descriptor, 0, os.SEEK_SET)
    try:
        with os.fdopen(out_descriptor, "wb", closefd=False) as target:
            return {"report": JOBS[job["do"]](job, target, alive)}
    except Doubtful as doubt:
        return {"doubt": doubt.reason, "detail": doubt.detail}
    except MemoryError:
        return {"doubt": "undecodable-pixels", "detail": "decoding needs more memory than it may have"}
    except OSError as error:
        return {"error": f"a file cannot be read or written: {error.strerror}"}
    except Exception as error:
        return {
            "doubt": "undecodable-pixels",
            "detail": f"the frames cannot be shown ({type(error).__name__})",
        }


if __name__ == "__main__":
    main()
