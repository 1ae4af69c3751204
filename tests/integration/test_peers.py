"""The peers themselves: each starts, does its part once, and is told apart from our own faults."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import images
from tests.peers import dcmtk
from tests.peers.hospital import HospitalSCP
from tests.peers.orthanc import Orthanc
from tests.peers.s3 import S3Server

pytestmark = pytest.mark.integration


def test_s3_server_keeps_an_object(s3_server: S3Server) -> None:
    client = s3_server.client()
    client.make_bucket("mine")
    client.put_object("mine", "a/b", io.BytesIO(b"hello"), 5)
    answer = client.get_object("mine", "a/b")
    try:
        assert answer.read() == b"hello"
    finally:
        answer.close()
        answer.release_conn()


def test_postgres_databases_are_fresh(postgres_database: Callable[[], str]) -> None:
    for _ in range(2):
        url = postgres_database().replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (x int)")


def test_storescu_reaches_the_hospital(hospital_scp: HospitalSCP, tmp_path: Path) -> None:
    ds = images.cyrillic_ct()
    assert dcmtk.echoscu(hospital_scp.port).ok
    sent = dcmtk.storescu(hospital_scp.port, images.write([ds], tmp_path), called="HOSPITAL")
    assert sent.ok and sent.statuses == [0], sent.output
    (received,) = hospital_scp.wait_for(1)
    assert received.calling_ae == "DCMTK"
    assert received.dataset.PatientName == images.CYRILLIC_NAME
    assert received.dataset.PixelData == ds.PixelData


def test_a_hospital_may_refuse(hospital_scp: HospitalSCP, tmp_path: Path) -> None:
    hospital_scp.status = lambda _received: 0xA700
    sent = dcmtk.storescu(hospital_scp.port, images.write([images.ct()], tmp_path))
    assert not sent.ok and sent.statuses == [0xA700]
    assert not hospital_scp.received and len(hospital_scp.refused) == 1


def test_orthanc_sends_and_receives(
    orthanc: Callable[..., Orthanc], hospital_scp: HospitalSCP, tmp_path: Path
) -> None:
    sender = orthanc(modalities={"hospital": ("HOSPITAL", "127.0.0.1", hospital_scp.port)})
    receiver = orthanc(ae_title="PACS")
    sender.know("pacs", "PACS", receiver.dicom_port)
    ids = sender.upload(images.write(images.ct_series(3), tmp_path))
    assert sender.echo("hospital") and sender.echo("pacs")
    assert sender.send("hospital", ids)["FailedInstancesCount"] == 0
    assert sender.send("pacs", ids)["FailedInstancesCount"] == 0
    assert len(hospital_scp.wait_for(3)) == 3
    assert {ds.InstanceNumber for ds in receiver.wait_for(3)} == {1, 2, 3}


@pytest.mark.browser
def test_chromium_draws_with_webgl(chromium: Any) -> None:
    page = chromium.new_page()
    try:
        page.set_content("<canvas id=c></canvas>")
        assert page.evaluate("document.getElementById('c').getContext('webgl2') !== null")
    finally:
        page.close()
