"""The process in which pixels are decoded and looked at: little memory, no way out, and nobody minds if it dies.

One job a line on standard input, as JSON with its ``source`` (a path). Answers go to standard output, one JSON object
a line: ``{"alive": true}`` now and then, at last ``{"report": …}``,
``{"doubt": …, "detail": …}`` or ``{"error": …}``. The clean instance goes to the file descriptor given as argument,
opened and owned by the parent, so a decoder that was taken over can name no path to write to.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

MEMORY = 4 << 30
"""Bytes of address space; onnxruntime takes 1.2 GB of it, a frame at the limit (256 MB) and its copies the rest."""

BEAT = 1.0
"""Seconds between two signs of life."""


def limit() -> None:
    """Take from this process what it does not need."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold pixels
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.nice(5)  # receiving comes first
    os.umask(0o077)


def main() -> None:
    """Answer jobs until standard input ends."""
    limit()
    out_descriptor = int(sys.argv[1])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries print is no answer

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    from gateway.deidentify.pixels.detector import Detector

    try:
        detector = Detector()
    except Exception as error:
        answer({"error": str(error)})
        return
    answer({"ready": True})
    last = [0.0]

    def alive() -> None:
        if time.monotonic() - last[0] >= BEAT:
            last[0] = time.monotonic()
            answer({"alive": True})

    for line in sys.stdin:
        answer(_work(json.loads(line), out_descriptor, detector, alive))


def _work(job: dict[str, Any], out_descriptor: int, detector: Any, alive: Any) -> dict[str, Any]:
    from gateway.deidentify.pixels.errors import Doubtful
    from gateway.deidentify.pixels.screen import screen

    os.ftruncate(out_descriptor, 0)
    os.lseek(out_descriptor, 0, os.SEEK_SET)
    try:
        with os.fdopen(out_descriptor, "wb", closefd=False) as target:
            report = screen(Path(job["source"]), target, detector, alive)
        return {"report": report.as_details()}
    except Doubtful as doubt:
        return {"doubt": doubt.reason, "detail": doubt.detail}
    except MemoryError:
        return {"doubt": "undecodable-pixels", "detail": "decoding needs more memory than it may have"}
    except OSError as error:
        return {"error": f"a file cannot be read or written: {error.strerror}"}
    except Exception as error:
        return {"doubt": "undecodable-pixels", "detail": f"screening failed ({type(error).__name__})"}


if __name__ == "__main__":
    main()
