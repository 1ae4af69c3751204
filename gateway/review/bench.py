"""One process at work on one held item; both go when nobody has looked for a while."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from config.errors import StorageUnavailable
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.pool import Child, Dead
from gateway.receiving import nameless_file, path_of

ROOT = Path(__file__).resolve().parents[2]

IDLE = 60.0
"""Seconds after which the decrypted item and the process go."""


class Process(Child):
    """`gateway.review.child`, watched as the screening processes are."""

    def ask(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """One job's report.

        Raises
        ------
        Doubtful
            The frames cannot be decoded, or not written again.
        StorageUnavailable
            The process cannot work at all now.
        """
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            answer = self._answer()
        except (BrokenPipeError, Dead) as dead:
            self.close()
            raise Doubtful("undecodable-pixels", str(dead) or "the process has ended") from None
        if "report" in answer:
            return dict(answer["report"])
        if "doubt" in answer:
            raise Doubtful(str(answer["doubt"]), str(answer.get("detail", "")))
        self.close()
        raise StorageUnavailable(f"frames cannot be shown: {answer.get('error', 'no answer')}")

    def kill(self) -> None:
        """End the process while another thread waits for its answer."""
        process = self._process
        if process is not None:
            process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        descriptor = self._output.fileno()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }  # nothing else: settings hold secrets
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "gateway.review.child", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            env=environment,
            cwd="/",
        )
        self._answer()
        return self._process


class Bench:
    """Works on one item at a time, for one caller at a time.

    Parameters
    ----------
    tmp_dir
        The protected temporary directory: the decrypted item is there in a file without a name.
    decrypt
        Writes the bytes of an item, by its number, into a stream.
    """

    def __init__(self, tmp_dir: Path, decrypt: Callable[[int, BinaryIO], object]) -> None:
        self._tmp_dir = tmp_dir
        self._decrypt = decrypt
        self._lock = threading.Lock()
        self._output: BinaryIO | None = None
        self._process: Process | None = None
        self._item: tuple[int, BinaryIO] | None = None
        self._rest: threading.Timer | None = None
        self._at: int | None = None

    @contextmanager
    def work(
        self, number: int, job: Mapping[str, Any], *, wait: bool = True
    ) -> Iterator[tuple[Mapping[str, Any], BinaryIO]]:
        """Do a job about an item; gives its report and the file it wrote, which is the caller's inside the block.

        Raises
        ------
        StorageUnavailable
            Somebody else's job is not done, and the caller does not wait; or the process cannot work at all now.
        """
        if not self._lock.acquire(blocking=wait):
            raise StorageUnavailable("another item is being worked on; try again in a moment")
        try:
            self._at = number
            if self._rest is not None:
                self._rest.cancel()
            source = self._source(number)
            if self._process is None or self._output is None:
                self._output = nameless_file(self._tmp_dir)
                self._process = Process(self._output)
            yield self._process.ask({**job, "source": str(path_of(source))}), self._output
        finally:
            self._at = None
            self._rest = threading.Timer(IDLE, self.clear)
            self._rest.daemon = True
            self._rest.start()
            self._lock.release()

    def forget(self, number: int) -> None:
        """Let go of an item that is decided, and end what is being done about it."""
        process = self._process
        if self._at == number and process is not None:
            process.kill()
        if self._item is not None and self._item[0] == number:
            with self._lock:
                if self._item is not None and self._item[0] == number:
                    self._drop_item()

    def _source(self, number: int) -> BinaryIO:
        if self._item is not None and self._item[0] == number:
            return self._item[1]
        self._drop_item()
        file = nameless_file(self._tmp_dir)
        try:
            self._decrypt(number, file)
            file.flush()
        except BaseException:
            file.close()
            raise
        self._item = (number, file)
        return file

    def _drop_item(self) -> None:
        if self._item is not None:
            self._item[1].close()
            self._item = None

    def clear(self) -> None:
        """Let go of the item and the process."""
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            self._drop_item()
            if self._process is not None:
                self._process.close()
                self._process = None
            if self._output is not None:
                self._output.close()
                self._output = None


def read_all(file: BinaryIO) -> bytes:
    """What a process wrote; read past Python's buffer, which does not know of it."""
    return b"".join(chunks(file))


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The same, a megabyte at a time."""
    descriptor, position = file.fileno(), 0
    while chunk := os.pread(descriptor, 1 << 20, position):
        yield chunk
        position += len(chunk)
