"""The whole thing as an operator starts it: from the first C-ECHO to a sealed, verified series, over each backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests import images
from tests.peers import dcmtk
from tests.peers.gateway import Running
from tests.peers.orthanc import Orthanc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_a_series_is_received_sealed_and_verified(running: Running, tmp_path: Path) -> None:
    running.add_network()
    assert dcmtk.echoscu(running.dicom_port, calling="NORTH_PACS").ok
    files = images.write(images.ct_series(5, images.cyrillic_ct()), tmp_path / "sent")
    sent = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="RADIOLOGY")
    assert sent.statuses == [0] * 5, sent.output
    running.wait_sealed()
    condition = running.condition()
    assert (condition["studies"], condition["series"], condition["sealed_instances"]) == (1, 1, 5)
    assert condition["consultations"] == {"requested": 1}, "the route opened it"
    assert condition["quarantined"] == 0
    verdict = json.loads(running.cli("verify", "--json").stdout)
    assert verdict["intact"], verdict["findings"]


def test_a_stranger_is_rejected_with_the_right_reason(running: Running) -> None:
    running.add_network()
    refused = dcmtk.echoscu(running.dicom_port, calling="STRANGER")
    assert not refused.ok
    assert "Calling AE Title Not Recognized" in refused.output, refused.output
    wrong_called = dcmtk.echoscu(running.dicom_port, calling="NORTH_PACS", called="NOBODY")
    assert "Called AE Title Not Recognized" in wrong_called.output, wrong_called.output


def test_what_was_acknowledged_survives_a_crash(running: Running, tmp_path: Path) -> None:
    running.add_network()
    files = images.write(images.ct_series(20), tmp_path / "sent")
    sent = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS")
    running.kill()
    assert sent.statuses == [0] * 20
    condition = running.condition()
    assert condition["pending_instances"] + condition["sealed_instances"] == 20
    running.start()
    running.wait_sealed()
    assert running.condition()["sealed_instances"] == 20
    assert json.loads(running.cli("verify", "--json").stdout)["intact"]


def test_orthanc_sends(
    consilium: Callable[..., Running], orthanc: Callable[..., Orthanc], tmp_path: Path
) -> None:
    running = consilium()
    running.add_network()
    sender = orthanc(modalities={"consilium": ("CONSILIUM", "127.0.0.1", running.dicom_port)})
    ids = sender.upload(images.write(images.ct_series(3), tmp_path))
    assert sender.echo("consilium")
    assert sender.send("consilium", ids)["FailedInstancesCount"] == 0
    running.wait_sealed()
    assert running.condition()["sealed_instances"] == 3


def test_doors_of_the_web(consilium: Callable[..., Running]) -> None:
    running = consilium()
    assert requests.get(f"{running.url}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{running.url}/readyz", timeout=10).status_code == 200
    assert requests.get(f"{running.url}/api/v1/me", timeout=10).status_code == 401
    me = running.api().get(f"{running.url}/api/v1/me", timeout=10).json()
    assert me["login"] == running.admin


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_starts_again_on_what_it_kept(consilium: Callable[..., Running], tmp_path: Path, end: str) -> None:
    running = consilium(seal_after=3600)
    running.add_network()
    sent = dcmtk.storescu(running.dicom_port, images.write(images.ct_series(2), tmp_path), calling="DCMTK")
    assert sent.ok, sent.output
    getattr(running, end)()
    running.start()
    assert running.condition()["pending_instances"] == 2
    again = dcmtk.storescu(running.dicom_port, sorted(tmp_path.glob("*.dcm")), calling="DCMTK")
    assert again.ok, "the same instances again are a success"
    assert running.condition()["pending_instances"] == 2, "and nothing more is kept"
