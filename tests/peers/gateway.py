"""Consilium itself, as an operator runs it: a home, settings by environment, ``consilium serve`` in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from argon2 import PasswordHasher

from config.settings import Settings, load
from storage.condition import look
from storage.database import Database
from storage.people import People
from storage.setup import initialise
from tests.peers.process import Program, free_ports, listening, wait_until

CONSILIUM = Path(sys.executable).parent / "consilium"
PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a hash names its own parameters
GRACE = 45.0  # s; longer than the 40 the supervisor gives its programs
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Backend:
    """One way to keep things: its name, the environment a process gets, and the same as `Settings`."""

    name: str
    environ: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return load(environ=self.environ)

    def with_(self, **changes: object) -> Backend:
        """The same with other settings: ``backend.with_(seal_after=0)``."""
        more = {f"CONSILIUM_{name.upper()}": str(value) for name, value in changes.items()}
        return Backend(self.name, {**self.environ, **more})


def environment(home: Path, **settings: object) -> dict[str, str]:
    """Variables of a quick deployment in ``home``: free ports, short pauses, a small disk reserve."""
    dicom, http = free_ports(2)
    quick: dict[str, object] = {
        "home": home,
        "dicom_port": dicom,
        "http_port": http,
        "dicom_processes": 1,
        "disk_reserve": 1 << 20,
        "seal_after": 1,
        "trust_after": 1,
        "delivery_retry_base": 0.5,
        "delivery_retry_max": 2,
        "log_format": "json",
    }
    return {f"CONSILIUM_{name.upper()}": str(value) for name, value in (quick | settings).items()}


class Running:
    """A running deployment.

    Attributes
    ----------
    url
        Of its web server.
    dicom_port, http_port
        On 127.0.0.1.
    admin
        Login of an administrator whose password is `PASSWORD`.
    token
        API token of that administrator.
    """

    def __init__(self, backend: Backend, *, command: tuple[str, ...] = ("serve",)) -> None:
        self.backend = backend
        self.settings = backend.settings
        self.dicom_port, self.http_port = self.settings.dicom_port, self.settings.http_port
        self.url = f"http://127.0.0.1:{self.http_port}"
        # Nothing of the machine's own settings, and a home directory of its own for whatever looks there.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CONSILIUM_")}
        self._environ = {**inherited, **backend.environ, "PYTHONUNBUFFERED": "1"}
        self._command = command
        self._program: Program | None = None
        self.log_file = self.settings.home.parent / f"{self.settings.home.name}.log"
        self.admin = "chief"
        # In this process, not by a dozen commands: those have their own tests, and this takes a tenth of the time.
        initialise(self.settings)
        with self.people() as people:
            people.add_user(self.admin, "administrator", PASSWORD)
        self.token = self.add_token(self.admin)

    @contextmanager
    def people(self) -> Iterator[People]:
        """Who takes part, straight in the database."""
        db = Database(self.settings.database_url)
        try:
            yield People(db, QUICK)
        finally:
            db.close()

    # --- the command line ---

    def cli(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ``consilium`` with this deployment's settings."""
        done = subprocess.run(
            [str(CONSILIUM), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environ,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"consilium {' '.join(arguments)} ended with {done.returncode}: {done.stderr}", pytrace=True
            )
        return done

    def add_user(self, login: str, role: str, *, site: str = "", centre: str = "", name: str = "") -> None:
        with self.people() as people:
            people.add_user(
                login, role, PASSWORD, full_name=name, site_code=site or None, centre_code=centre or None
            )

    def add_token(self, login: str) -> str:
        with self.people() as people:
            return people.create_token(login)

    def add_network(self, returns: Mapping[str, str] | None = None) -> None:
        """Two hospitals, a centre, and everyone who works there.

        Sites ``NORTH`` (sends as ``NORTH_PACS``, ``DCMTK`` or ``ORTHANC``) and ``SOUTH`` (``SOUTH_PACS``), centre
        ``ONCO`` (radiology, oncology), routes ``RADIOLOGY`` (planned) and ``ONCO_URGENT`` to it; users
        ``north-doctor``, ``south-doctor``, ``consultant``, ``coordinator``, ``auditor``.

        Parameters
        ----------
        returns
            Site code → ``AET@host:port`` where its opinions go.
        """
        titles = {"NORTH": ("NORTH_PACS", "DCMTK", "ORTHANC"), "SOUTH": ("SOUTH_PACS",)}
        with self.people() as people:
            for code, aes in titles.items():
                target = (returns or {}).get(code)
                people.add_site(
                    code,
                    f"{code.title()} hospital",
                    ae_titles=aes,
                    returns=[("dicom", target)] if target else [],
                )
            people.add_centre("ONCO", "Centre", specialties=["radiology", "oncology"])
            people.add_route("RADIOLOGY", specialty="radiology", centre_code="ONCO")
            people.add_route("ONCO_URGENT", specialty="oncology", centre_code="ONCO", urgency="urgent")
        self.add_user("north-doctor", "referrer", site="NORTH", name="North Doctor")
        self.add_user("south-doctor", "referrer", site="SOUTH", name="South Doctor")
        self.add_user("consultant", "consultant", centre="ONCO", name="Петрова Анна Сергеевна")
        self.add_user("coordinator", "coordinator", centre="ONCO", name="Coordinator")
        self.add_user("auditor", "auditor")

    # --- the process ---

    def start(self, timeout: float = 60) -> Running:
        self._program = Program([CONSILIUM, *self._command], self.log_file, environ=self._environ)
        self._program.wait_ready(self.ready, timeout)
        return self

    def ready(self) -> bool:
        """Whether every door this command has is open: its processes start at their own pace."""
        if "serve" in self._command and not listening(self.dicom_port):
            return False
        try:
            return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.process.pid

    def kill(self) -> None:
        """As a power cut would: the whole process group at once."""
        assert self._program is not None
        self._program.kill()
        self._program = None

    def stop(self) -> bool:
        """As an operator would; True if everything ended by itself."""
        program, self._program = self._program, None
        return program is None or program.stop(GRACE)

    def restart(self, **settings: object) -> Running:
        """Stop, and start again with other settings; the ports stay."""
        assert self.stop(), "it did not end by itself"
        self._environ |= {f"CONSILIUM_{name.upper()}": str(value) for name, value in settings.items()}
        return self.start()

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    # --- for assertions ---

    def api(self, token: str = "") -> requests.Session:
        """An HTTP client with a bearer token, the administrator's unless another is given."""
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token or self.token}"
        return session

    def condition(self) -> dict[str, Any]:
        """What ``consilium status --json`` prints."""
        db = Database(self.settings.database_url)
        try:
            return look(db, self.settings).as_dict()
        finally:
            db.close()

    def wait_for(
        self, condition: Callable[[], object], timeout: float = 60, what: str = "what was awaited"
    ) -> None:
        wait_until(condition, timeout, what)

    def wait_sealed(self, timeout: float = 60) -> None:
        """Wait until nothing is pending."""
        deadline = time.monotonic() + timeout
        while self.condition()["pending_instances"]:
            if time.monotonic() > deadline:
                pytest.fail(f"instances are still pending after {timeout:g} s")
            time.sleep(0.3)

    def check_ended_well(self) -> None:
        """End it, and fail if it had to be killed or logged a traceback."""
        ended = self.stop()
        if TRACEBACK in self.log:
            position = self.log.index(TRACEBACK)
            pytest.fail(
                f"the log holds a traceback:\n{self.log[max(0, position - 500) : position + 3000]}",
                pytrace=False,
            )
        if not ended:
            pytest.fail(f"consilium did not end within {GRACE:g} s of SIGTERM", pytrace=False)
