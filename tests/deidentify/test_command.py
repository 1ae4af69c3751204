"""``consilium deid`` on a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner

from gateway.deidentify.commands import deid
from tests.deidentify import corpus


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ct").write_bytes(corpus.hostile_ct().data)
    (tmp_path / "in" / "sr").write_bytes(corpus.hostile_sr().data)
    return tmp_path


def test_clean_files_and_a_report(folder: Path) -> None:
    ran = CliRunner().invoke(
        deid, [str(folder / "in"), "--out", str(folder / "out"), "--report", str(folder / "report.json")]
    )
    assert ran.exit_code == 0, ran.output
    written = [pydicom.dcmread(path) for path in (folder / "out").rglob("*.dcm")]
    assert len(written) == 2
    assert len({str(ds.StudyInstanceUID) for ds in written}) == 1
    report = json.loads((folder / "report.json").read_text())
    assert (report["clean"], report["edition"]) == (2, "2026d")
    assert corpus.leaked((folder / "report.json").read_bytes(), corpus.hostile_ct().plants) == []


def test_exit_code_tells_of_quarantine(folder: Path) -> None:
    (folder / "in" / "broken").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0junk")
    ran = CliRunner().invoke(deid, [str(folder / "in"), "--out", str(folder / "out")])
    assert ran.exit_code == 1
    assert len(list((folder / "out").rglob("*.dcm"))) == 2
    assert "unparseable" in ran.output or "truncated" in ran.output


def test_an_unknown_profile_is_told(folder: Path) -> None:
    ran = CliRunner().invoke(deid, [str(folder / "in"), "--out", str(folder / "out"), "--profile", "nope"])
    assert ran.exit_code != 0
    assert "clinical" in str(ran.exception)
