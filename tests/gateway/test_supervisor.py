"""Real processes: what dies is started again, what is told to end ends, and nobody outlives the supervisor."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from gateway.supervisor import programs
from tests.peers.process import Program, wait_until

SUPERVISOR = """
import sys
from gateway import supervisor
supervisor.FIRST_PAUSE = 0.05
children = {name: [sys.executable, "-c", code] for name, code in eval(sys.argv[1]).items()}
one = supervisor.Supervisor(children, grace=float(sys.argv[2]))
for child in one._children: child.pause = 0.05
sys.exit(one.run())
"""

pytestmark = pytest.mark.slow

PATIENCE = 30  # s a process may take on a busy machine

SLEEPER = """
import os, pathlib, signal, sys, time
where = pathlib.Path({directory!r})
(where / f"{name}.{{os.getpid()}}").touch()
def end(number, frame):
    (where / "{name}.ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda n, f: None)
while True: time.sleep(0.05)
"""

STUBBORN = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path({directory!r}) / f"{name}.{{os.getpid()}}").touch()
while True: time.sleep(0.05)
"""


def sleeper(directory: Path, name: str, code: str = SLEEPER) -> str:
    return code.format(directory=str(directory), name=name)


def pids(directory: Path, name: str) -> list[int]:
    return sorted(int(p.suffix[1:]) for p in directory.glob(f"{name}.*") if p.suffix[1:].isdigit())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@pytest.fixture
def supervise(tmp_path: Path):
    started: list[Program] = []

    def start(children: dict[str, str], grace: float = 5) -> Program:
        root = Path(__file__).parents[2]
        arguments = [sys.executable, "-c", SUPERVISOR, repr(children), str(grace)]
        environ = {**os.environ, "PYTHONPATH": str(root)}
        program = Program(arguments, tmp_path / "supervisor.log", environ=environ)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()


def test_all_start_and_all_end_on_sigterm(supervise, tmp_path: Path) -> None:
    program = supervise({name: sleeper(tmp_path, name) for name in ("one", "two")})
    wait_until(lambda: pids(tmp_path, "one") and pids(tmp_path, "two"), PATIENCE, "the start of both")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0
    assert (tmp_path / "one.ended").exists()
    assert (tmp_path / "two.ended").exists()
    assert not any(alive(pid) for name in ("one", "two") for pid in pids(tmp_path, name))


def test_ctrl_c_reaches_the_whole_group_and_ends_it(supervise, tmp_path: Path) -> None:
    program = supervise({"one": sleeper(tmp_path, "one")})
    wait_until(lambda: pids(tmp_path, "one"), PATIENCE, "the start")
    os.killpg(program.process.pid, signal.SIGINT)
    assert program.process.wait(PATIENCE) == 0
    assert (tmp_path / "one.ended").exists()


def test_a_killed_child_is_started_again_and_the_other_left_alone(supervise, tmp_path: Path) -> None:
    supervise({name: sleeper(tmp_path, name) for name in ("one", "two")})
    wait_until(lambda: pids(tmp_path, "one") and pids(tmp_path, "two"), PATIENCE, "the start of both")
    for restarts in (1, 2):
        os.kill(next(pid for pid in pids(tmp_path, "one") if alive(pid)), signal.SIGKILL)
        wait_until(
            lambda expected=restarts + 1: len(pids(tmp_path, "one")) == expected, PATIENCE, "a restart"
        )
    assert len(pids(tmp_path, "two")) == 1


def test_a_child_that_keeps_crashing_is_started_less_and_less_often(supervise, tmp_path: Path) -> None:
    crash = (
        f"import os, pathlib; pathlib.Path({str(tmp_path)!r}, f'crash.{{os.getpid()}}').touch(); os._exit(1)"
    )
    supervise({"crash": crash})
    time.sleep(3)
    assert 2 <= len(pids(tmp_path, "crash")) <= 7  # 0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s apart


def test_wrong_settings_end_everything_at_once(supervise, tmp_path: Path) -> None:
    program = supervise({"one": sleeper(tmp_path, "one"), "wrong": "import time; time.sleep(0.5); exit(2)"})
    assert program.process.wait(PATIENCE) == 2
    assert not any(alive(pid) for pid in pids(tmp_path, "one"))


def test_a_child_that_does_not_end_is_killed(supervise, tmp_path: Path) -> None:
    program = supervise({"deaf": sleeper(tmp_path, "deaf", STUBBORN)}, grace=0.5)
    wait_until(lambda: pids(tmp_path, "deaf"), PATIENCE, "the start")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0
    assert not alive(pids(tmp_path, "deaf")[0])


def test_nobody_outlives_a_killed_supervisor(supervise, tmp_path: Path) -> None:
    program = supervise({"one": sleeper(tmp_path, "one")})
    wait_until(lambda: pids(tmp_path, "one"), PATIENCE, "the start")
    program.process.kill()
    wait_until(lambda: not alive(pids(tmp_path, "one")[0]), PATIENCE, "the end of the child")
    assert (tmp_path / "one.ended").exists()


def test_the_programs_of_a_node() -> None:
    found = programs(["dicom", "web", "worker"], 2)
    assert list(found) == ["dicom-1", "dicom-2", "web", "worker"]
    assert found["dicom-1"][-2:] == ["dicom", "--share"]
    assert list(programs(["dicom"], 1)) == ["dicom"]
    assert programs(["dicom"], 1)["dicom"][1:] == ["-m", "consilium", "dicom"]
