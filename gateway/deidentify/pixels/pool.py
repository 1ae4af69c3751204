"""The parent's side: children that screen, watched and replaced."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from config.errors import StorageUnavailable
from gateway.deidentify.pixels.errors import Doubtful

_ROOT = Path(__file__).resolve().parents[3]
_LONGEST_ANSWER = 1 << 20

SILENCE = 120.0
"""Seconds without a sign of life after which a child hangs: the slowest single look takes a few."""

LONGEST = 3600.0
"""Seconds one instance may take in all."""


class Dead(Exception):
    """The child ended, or was ended because it hung, while it worked on an instance."""


class Child:
    """One screening process; not for several threads at once.

    Parameters
    ----------
    output
        A file the child writes clean instances into; it begins at byte 0 for each.
    silence, longest
        See `SILENCE` and `LONGEST`.
    """

    def __init__(self, output: BinaryIO, *, silence: float = SILENCE, longest: float = LONGEST) -> None:
        self._output = output
        self._silence = silence
        self._longest = longest
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def screen(self, source: Path) -> Mapping[str, Any]:
        """Screen one file; the clean instance is in the output afterwards.

        Raises
        ------
        Doubtful
            A person has to look.
        Dead
            The child did not survive it; it is begun anew at the next call.
        StorageUnavailable
            Screening cannot work at all now: files cannot be read, the networks are missing.
        """
        job = {"source": str(source)}
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            self.close()
            raise Dead("the screening process has ended") from None
        except Dead:
            self.close()
            raise
        if "report" in answer:
            return dict(answer["report"])
        if "doubt" in answer:
            raise Doubtful(str(answer["doubt"]), str(answer.get("detail", "")))
        self.close()
        raise StorageUnavailable(f"pixels cannot be screened: {answer.get('error', 'no answer')}")

    def close(self) -> None:
        """End the process; harmless when there is none."""
        process, self._process, self._pending = self._process, None, b""
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        descriptor = self._output.fileno()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }  # nothing else: settings hold secrets
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", "gateway.deidentify.pixels.child", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            env=environment,
            cwd="/",
            start_new_session=True,  # what ends the worker's process group must not look like a decoder's crash
        )
        first = self._answer()
        if "ready" not in first:
            self.close()
            raise StorageUnavailable(f"pixels cannot be screened: {first.get('error', 'no answer')}")
        return self._process

    def _answer(self) -> dict[str, Any]:
        """The next answer that is no sign of life."""
        end = time.monotonic() + self._longest
        while True:
            answer: dict[str, Any] = json.loads(self._line(end))
            if "alive" not in answer:
                return answer

    def _line(self, end: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        stream = self._process.stdout
        until = min(end, time.monotonic() + self._silence)
        while b"\n" not in self._pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise Dead("the screening process took too long")
            data = os.read(stream.fileno(), 65536)
            if not data or len(self._pending) > _LONGEST_ANSWER:
                raise Dead("the screening process has ended")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line
