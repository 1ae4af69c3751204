"""The commands as an operator types them, and the processes they become."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consilium import main
from gateway.opening import Gateway
from storage.records import Origin
from tests.gateway.conftest import House
from tests.gateway.test_ingest import instance, pending
from tests.peers import dcmtk
from tests.peers.process import Program, free_port

CT_FILE = Path(__import__("pydicom").data.get_testdata_file("CT_small.dcm"))


@pytest.fixture
def environ(house: House, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    ours = {
        "CONSILIUM_HOME": str(house.settings.home),
        "CONSILIUM_DISK_RESERVE": "0",
        "CONSILIUM_DICOM_PROCESSES": "1",
        "CONSILIUM_DICOM_PORT": str(free_port()),
        "CONSILIUM_LOG_FORMAT": "json",
    }
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **ours}


@pytest.fixture
def held(gateway: Gateway, house: House, environ: dict[str, str]) -> tuple[int, int]:
    """Two held items: one that would pass with today's route, one that never will."""
    site = house.people.site("krsk")
    origin = Origin(site.id, "krsk", "KRSK_PACS", "ONCO_URG", profile="of-last-year", actor="ae:KRSK_PACS")
    first = gateway.ingest.store(instance(), origin)
    second = gateway.ingest.store(b"CANARY^NAME is no DICOM", replace(origin, profile="clinical"))
    return int(first.details["quarantine"]), int(second.details["quarantine"])


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert "CANARY" not in result.output
    return result


def test_list_and_show_tell_why_and_nothing_more(held: tuple[int, int]) -> None:
    listed = json.loads(run("quarantine", "list", "--json").stdout)
    assert [(item["number"], item["reason"]) for item in listed] == [
        (held[1], "unparseable"),
        (held[0], "unknown-profile"),
    ]
    shown = run("quarantine", "show", str(held[1])).stdout
    assert "unparseable" in shown
    assert "KRSK_PACS" in shown
    assert "KRSK_PACS" in run("quarantine", "list").stdout
    run("quarantine", "show", "404", code=1)


def test_release_says_what_was_kept_and_what_stays(held: tuple[int, int], house: House) -> None:
    results = json.loads(run("quarantine", "release", str(held[0]), str(held[1]), "--json", code=1).stdout)
    assert [result["released"] for result in results] == [True, False]
    assert results[0]["study"].startswith("2.25.")
    assert results[1]["reason"] == "unparseable"
    assert len(pending(house)) == 1
    (kept,) = json.loads(run("quarantine", "list", "--json").stdout)
    assert kept["number"] == held[1]


def test_discard_asks_first_and_keeps_the_record(held: tuple[int, int], house: House) -> None:
    declined = CliRunner().invoke(main, ["quarantine", "discard", str(held[0])], input="n\n")
    assert declined.exit_code != 0
    assert len(json.loads(run("quarantine", "list", "--json").stdout)) == 2
    run("quarantine", "discard", "--yes", str(held[0]), str(held[1]))
    assert "nothing is held" in run("quarantine", "list").stdout
    assert list(house.settings.quarantine_dir.iterdir()) == []
    everything = json.loads(run("quarantine", "list", "--state", "all", "--json").stdout)
    assert {item["state"] for item in everything} == {"discarded"}
    assert all(item["decided_by"].startswith("cli:") for item in everything)
    events, _ = house.audit.search(action="quarantine.discard")
    assert len(events) == 2


@pytest.mark.integration
@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_receivers_process_receives_and_ends_well(
    gateway: Gateway, house: House, environ: dict[str, str], tmp_path: Path, processes: str
) -> None:
    environ["CONSILIUM_DICOM_PROCESSES"] = processes
    port = int(environ["CONSILIUM_DICOM_PORT"])
    program = Program(
        [sys.executable, "-m", "consilium", "dicom"], tmp_path / "dicom.log", environ=environ, cwd=root()
    )
    try:
        program.wait_ready(lambda: program.log.count("dicom.listening") == int(processes), 60)
        assert dcmtk.storescu(port, [CT_FILE], calling="KRSK_PACS").ok
        assert len(pending(house)) == 1
        # Started by mistake a second time: told so, and the first goes on.
        again = Program(
            [sys.executable, "-m", "consilium", "dicom"], tmp_path / "again.log", environ=environ, cwd=root()
        )
        assert again.process.wait(60) == 2
        assert "cannot listen" in again.log
        os.killpg(program.process.pid, signal.SIGTERM)
        assert program.process.wait(30) == 0
        assert program.log.count("dicom.stopped") == int(processes)
        assert "Traceback" not in program.log
    finally:
        program.kill()


@pytest.mark.integration
def test_the_workers_process_seals_and_ends_well(
    gateway: Gateway, house: House, environ: dict[str, str], tmp_path: Path
) -> None:
    site = house.people.site("krsk")
    gateway.ingest.store(instance(), Origin(site.id, "krsk", "KRSK_PACS", "CONSILIUM"))
    environ |= {"CONSILIUM_SEAL_AFTER": "0", "CONSILIUM_TRUST_AFTER": "0"}
    program = Program(
        [sys.executable, "-m", "consilium", "worker"], tmp_path / "worker.log", environ=environ, cwd=root()
    )
    try:
        program.wait_ready(lambda: not list(house.spool.names()), 60)
        assert pending(house) == []
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGTERM)  # the service manager's and the supervisor's
        assert program.process.wait(30) == 0
        assert '"outcome": "complete"' in program.log
        assert "Traceback" not in program.log
    finally:
        program.kill()


def root() -> Path:
    return Path(__file__).parents[2]
