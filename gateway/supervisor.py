"""Runs several programs as one: starts them, restarts what dies, ends them together.

All stay in the supervisor's own process group, so a terminal's Ctrl-C or a service manager reaches every one. A child
also gets SIGTERM from the kernel when the supervisor dies of something it cannot catch (prctl(2), Linux).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

FIRST_PAUSE = 0.5  # s before the first restart; doubles with each crash
LONGEST_PAUSE = 30.0
SETTLED_AFTER = 60.0  # s a program has to live for its next crash to count as the first again
WRONG_INPUT = 2  # exit code: settings are wrong, so starting it again is no use
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    starts: int = 0
    start_at: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps programs running.

    Parameters
    ----------
    programs
        Name → command line.
    grace
        Seconds they may take to end after SIGTERM, before SIGKILL.
    """

    def __init__(self, programs: Mapping[str, Sequence[str]], *, grace: float = 40.0) -> None:
        self._children = [_Child(name, command) for name, command in programs.items()]
        self._grace = grace
        self._stop_signal: int | None = None

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGHUP; call it in the main thread.

        Returns
        -------
        int
            Exit code: 0 after a signal, 2 when a program says its settings are wrong.
        """
        wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        previous = {number: signal.signal(number, self._on_signal) for number in handled}
        previous_alarm = signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        try:
            code = self._watch(wake)
        finally:
            self._end()
            signal.set_wakeup_fd(previous_alarm)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(alarm)
        return code

    def _watch(self, wake: int) -> int:
        while self._stop_signal is None:
            for child in self._children:
                if child.process is None:
                    if time.monotonic() >= child.start_at:
                        self._start(child)
                elif (code := child.process.poll()) is not None:
                    if code == WRONG_INPUT and child.starts == 1:  # later, the others had better go on
                        log.error("process.settings_refused", process=child.name)
                        return WRONG_INPUT
                    self._note_end(child, code)
            _sleep(wake, self._seconds_to_next_start())
        log.info("process.stopping", signal=signal.Signals(self._stop_signal).name)
        return 0

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(  # noqa: S603 - our own command lines, no shell
            child.command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent()
        )
        child.starts += 1
        child.started_at = time.monotonic()
        log.info("process.started", process=child.name, pid=child.process.pid)

    def _note_end(self, child: _Child, code: int) -> None:
        lived = time.monotonic() - child.started_at
        if lived >= SETTLED_AFTER:
            child.pause = FIRST_PAUSE
        log.error("process.ended", process=child.name, exit_code=code, seconds=round(lived, 1))
        child.process = None
        child.start_at = time.monotonic() + child.pause
        child.pause = min(2 * child.pause, LONGEST_PAUSE)

    def _seconds_to_next_start(self) -> float | None:
        waiting = [child.start_at - time.monotonic() for child in self._children if child.process is None]
        return max(0.0, min(waiting)) if waiting else None

    def _end(self) -> None:
        """SIGTERM to all at once, SIGKILL to who is left after the grace time."""
        running = [child for child in self._children if child.process is not None]
        for child in running:
            assert child.process is not None
            child.process.terminate()  # does nothing to one that has ended
        until = time.monotonic() + self._grace
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("process.killed", process=child.name, pid=child.process.pid)
                child.process.kill()
                child.process.wait()
            child.process = None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stop_signal = number


def programs(parts: Sequence[str], dicom_processes: int) -> dict[str, list[str]]:
    """Command lines of the parts of a node (``dicom``, ``web``, ``worker``), the receivers as often as wanted."""
    own = [sys.executable, "-m", "consilium"]
    found: dict[str, list[str]] = {}
    for part in parts:
        if part == "dicom" and dicom_processes > 1:
            for number in range(1, dicom_processes + 1):
                found[f"dicom-{number}"] = [*own, "dicom", "--share"]
        else:
            found[part] = [*own, part]
    return found


def _sleep(wake: int, seconds: float | None) -> None:
    """Until a signal comes or the time is over; select, so that no signal is missed between look and sleep."""
    select.select([wake], [], [], seconds)
    try:
        while os.read(wake, 512):
            pass
    except BlockingIOError:
        pass


def _end_with_parent() -> Callable[[], None] | None:
    """For the child, between fork and exec: ask the kernel to end it when this process dies."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(0)

    return ask
