"""Fixtures every room shares: quick homes, real peers (`tests.peers`), and a running Consilium.

Servers live for the session, what is in them (a database, a bucket, an Orthanc's storage) for one test.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from tests.peers import browser as browser_peer
from tests.peers import postgres as postgres_peer
from tests.peers import s3 as s3_peer
from tests.peers.gateway import Backend, Running, environment
from tests.peers.hospital import HospitalSCP
from tests.peers.orthanc import Orthanc
from tests.peers.postgres import PostgresServer
from tests.peers.s3 import S3Server

_buckets = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_this_machine() -> None:
    """Tests see only the settings they make."""
    for name in [n for n in os.environ if n.startswith("CONSILIUM_")]:
        del os.environ[name]


# --- servers ---


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) that has taken its first object."""
    with s3_peer.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    with postgres_peer.serve() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes URLs of fresh databases, dropped at the end of the test."""
    made: list[str] = []

    def database() -> str:
        made.append(postgres_server.database())
        return made[-1]

    yield database
    for url in made:
        postgres_server.drop(url)


@pytest.fixture
def postgres_url(postgres_database: Callable[[], str]) -> str:
    """The URL of one fresh database."""
    return postgres_database()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The setting ``object_store`` for a bucket nobody used."""
    return s3_server.url(f"bucket-{os.getpid()}-{next(_buckets)}")


# --- hospitals ---


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts real Orthancs: ``orthanc(ae_title="ORTHANC", modalities={…}, dicomweb=False)``."""
    started: list[Orthanc] = []

    def start(**options: Any) -> Orthanc:
        started.append(Orthanc(tmp_path / f"orthanc-{len(started) + 1}", **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def hospital_scp() -> Iterator[HospitalSCP]:
    """A real Storage SCP that keeps what arrives."""
    scp = HospitalSCP().start()
    yield scp
    scp.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real headless Chromium with WebGL (Playwright's `Browser`)."""
    with browser_peer.chromium() as browser:
        yield browser


# --- Consilium ---


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home of its own: SQLite and files."""
    return load(environ=environment(tmp_path / "home"))


@pytest.fixture(params=["sqlite+files", pytest.param("postgres+s3", marks=pytest.mark.integration)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Both ways to keep things: one machine, and a network's database and object store."""
    home = tmp_path / "home"
    if request.param == "sqlite+files":
        return Backend(request.param, environment(home))
    database: Callable[[], str] = request.getfixturevalue("postgres_database")
    server: S3Server = request.getfixturevalue("s3_server")
    return Backend(
        request.param,
        environment(
            home,
            database_url=database(),
            vault_url=database(),
            object_store=request.getfixturevalue("s3_bucket"),
            s3_access_key=server.access_key,
            s3_secret_key=server.secret_key,
        ),
    )


@pytest.fixture
def consilium(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts deployments: ``consilium(backend=…, command=("serve",), start=True, **settings)``.

    Without ``backend`` it keeps things in SQLite and files. At the end each is stopped; a traceback in its log, or a
    process that does not end, fails the test.
    """
    made: list[Running] = []

    def make(
        backend: Backend | None = None,
        *,
        command: tuple[str, ...] = ("serve",),
        start: bool = True,
        **changes: object,
    ) -> Running:
        chosen = backend or Backend("sqlite+files", environment(tmp_path / f"home-{len(made) + 1}"))
        one = Running(chosen.with_(**changes), command=command)
        made.append(one)
        return one.start() if start else one

    yield make
    problems: list[BaseException] = []
    for one in made:
        try:
            one.check_ended_well()
        except BaseException as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


@pytest.fixture
def running(consilium: Callable[..., Running], backend: Backend) -> Running:
    """A running deployment over each backend."""
    return consilium(backend)
