"""A gateway's storage in a temporary home, and a DICOM port with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.settings import Settings, load
from storage.audit import Audit
from storage.database import Database
from storage.keys import Keys
from storage.people import People
from storage.spool import Spool

if TYPE_CHECKING:
    from gateway.opening import Gateway


@dataclass
class House:
    """What every test of the gateway needs: settings, an index with one site and one route, a spool."""

    settings: Settings
    database: Database
    people: People
    audit: Audit
    spool: Spool


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {
        "CONSILIUM_HOME": str(tmp_path / "home"),
        "CONSILIUM_DISK_RESERVE": "0",
        "CONSILIUM_DICOM_PROCESSES": "1",
    }
    settings = load(environ=environ)
    settings.prepare_home()
    return settings


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once, copied for each test."""
    directory = tmp_path_factory.mktemp("databases")
    for tree in ("index", "vault"):
        database = Database(f"sqlite:///{directory / tree}.db", tree=tree)
        database.upgrade()
        database.close()
    return directory


@pytest.fixture
def backend() -> str:
    """The databases a test runs on; a module that runs on both overrides this with `both_backends`."""
    return "sqlite"


both_backends = pytest.mark.parametrize(
    "backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.integration)]
)


@pytest.fixture
def house(
    settings: Settings, empty_databases: Path, backend: str, request: pytest.FixtureRequest
) -> Iterator[House]:
    if backend == "sqlite":
        for tree in ("index", "vault"):
            shutil.copyfile(empty_databases / f"{tree}.db", settings.home / f"{tree}.db")
    else:
        make = request.getfixturevalue("postgres_database")
        settings = replace(settings, database_url=make(), vault_url=make())
        for url, tree in ((settings.database_url, "index"), (settings.vault_url, "vault")):
            fresh = Database(url, tree=tree)  # type: ignore[arg-type]
            fresh.upgrade()
            fresh.close()
    database = Database(settings.database_url)
    people = People(database)
    people.add_site("krsk", "Krasnoyarsk", ae_titles=["KRSK_PACS"])
    people.add_site("omsk", "Omsk", ae_titles=["OMSK_PACS"])
    people.add_centre("onco", "Oncology", specialties=["oncology"])
    people.add_route("ONCO_URG", specialty="oncology", urgency="urgent", centre_code="onco")
    yield House(settings, database, people, Audit(database), Spool(settings.spool_dir))
    database.close()


@pytest.fixture
def gateway(house: House) -> Iterator[Gateway]:
    """Everything behind the doors, real: vault, de-identification, ingest."""
    from gateway.opening import open_gateway

    Keys.create(house.settings.vault_key_file)
    gateway = open_gateway(house.settings)
    yield gateway
    gateway.close()
