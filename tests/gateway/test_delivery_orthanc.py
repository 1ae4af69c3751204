"""Orthanc as the hospital's PACS: the opinion arrives in the original study, beside the original images."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from tests.gateway.receivers import free_port
from tests.gateway.returning import ACCESSION, CT, RUSSIAN, SERIES, STUDY, all_marks
from tests.gateway.test_delivery import PDF, SR_3D, Delivering

pytestmark = [
    pytest.mark.integration,
]


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An empty Orthanc; its DICOM target and its REST address."""
    dicom, http = free_port(), free_port()
    config = tmp_path / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "Name": "Hospital",
                "StorageDirectory": str(tmp_path / "orthanc"),
                "IndexDirectory": str(tmp_path / "orthanc"),
                "DicomAet": "HOSPITAL",
                "DicomPort": dicom,
                "DicomCheckCalledAet": True,
                "DicomAlwaysAllowStore": True,
                "HttpPort": http,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [],
            }
        )
    )
    process = subprocess.Popen(
        ["Orthanc", str(config)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{http}"
    try:
        for _ in range(200):
            try:
                requests.get(f"{address}/system", timeout=1)
                break
            except requests.ConnectionError:
                assert process.poll() is None, "Orthanc ended"
                time.sleep(0.05)
        yield f"HOSPITAL@127.0.0.1:{dicom}", address
    finally:
        process.terminate()
        process.wait(20)


def original_image() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"{SERIES}.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.PatientName, ds.PatientID, ds.AccessionNumber = "Иванов^Иван^Иванович", "MRN-7781", ACCESSION
    ds.Modality = "CT"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def store(ds: Dataset, target: str) -> None:
    title, _, address = target.partition("@")
    host, _, port = address.partition(":")
    ae = AE()
    ae.add_requested_context(CT, ExplicitVRLittleEndian)
    association = ae.associate(host, int(port), ae_title=title)
    assert association.send_c_store(ds).Status == 0
    association.release()


def test_the_opinion_joins_the_study(tmp_path: Path, orthanc: tuple[str, str]) -> None:
    target, address = orthanc
    store(original_image(), target)
    world = Delivering(tmp_path)
    world.send_to("NORTH", "dicom", target)
    world.signed(all_marks(world))
    assert world.attempt().state == "delivered"
    world.close()

    def get(path: str) -> Any:
        return requests.get(f"{address}{path}", timeout=10).json()

    [study] = get("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == STUDY
    assert study["MainDicomTags"]["AccessionNumber"] == ACCESSION
    assert study["PatientMainDicomTags"]["PatientName"] == "Иванов^Иван^Иванович"
    assert study["PatientMainDicomTags"]["PatientID"] == "MRN-7781"
    instances = get("/instances?expand")
    classes = {}
    for instance in instances:
        identifier = instance["ID"]
        meta = requests.get(f"{address}/instances/{identifier}/metadata/SopClassUid", timeout=10).text
        classes[meta] = requests.get(f"{address}/instances/{identifier}/file", timeout=10).content
    assert set(classes) == {CT, SR_3D, PDF}
    assert all(RUSSIAN in data for data in classes.values())
    assert f"{SERIES}.1".encode() in classes[SR_3D]
