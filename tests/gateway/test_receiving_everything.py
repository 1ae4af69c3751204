"""Every file of pydicom's bundled test set over the DICOM port: kept or quarantined with a reason, none lost."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_files
from pynetdicom import AE, _config
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from sqlalchemy import select

from gateway.opening import Gateway
from gateway.server import DicomServer, make_server
from storage.records import Disposition, Origin
from storage.schema import Instance
from tests.gateway.conftest import House
from tests.peers import dcmtk

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def server(gateway: Gateway, house: House) -> Iterator[DicomServer]:
    before = (_config.LOG_HANDLER_LEVEL, dict(_config.VALIDATORS))
    server = make_server(replace(house.settings, dicom_port=0), gateway)
    server.start()
    yield server
    server.stop(grace=2)
    _config.LOG_HANDLER_LEVEL, _config.VALIDATORS = before[0], before[1]


def bundled() -> list[Path]:
    return sorted(Path(name) for name in get_testdata_files() if Path(name).is_file())


def split(path: Path) -> tuple[str, str, str, bytes] | None:
    """SOP class, SOP instance, transfer syntax and the encoded data set of a file, or None when it has no meta."""
    data = path.read_bytes()
    if data[128:132] != b"DICM":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = pydicom.filereader.read_file_meta_info(path)
        length = meta.FileMetaInformationGroupLength
        found = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except Exception:
        return None
    return str(found[0]), str(found[1]), str(found[2]), data[128 + 4 + 12 + length :]


def c_store(association: Any, sop_class: str, sop_instance: str, data: bytes) -> int | None:
    """One C-STORE of bytes as they are, whatever a library would say about them."""
    from io import BytesIO

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(data)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return None if response is None else int(response.Status)


def test_every_bundled_file_is_kept_or_quarantined_and_none_is_lost(
    server: DicomServer, gateway: Gateway, house: House
) -> None:
    ae = AE("KRSK_PACS")
    ae.dimse_timeout = 60
    site = house.people.site("krsk")
    origin = Origin(site.id, site.code, "KRSK_PACS", "CONSILIUM", protocol="import")
    by_wire: Counter[str] = Counter()
    by_file: Counter[str] = Counter()
    for path in bundled():
        parts = split(path)
        if parts is not None and parts[0] and parts[1]:
            sop_class, sop_instance, syntax, data = parts
            wanted = [build_context(sop_class, syntax)]
            association = ae.associate("127.0.0.1", server.port, contexts=wanted, ae_title="CONSILIUM")
            if association.is_established:
                status = c_store(association, sop_class, sop_instance, data)
                association.release()
                assert status is not None, f"{path.name}: no answer"
                assert status not in (0x0110, 0xA700), f"{path.name}: answered 0x{status:04X}"
                by_wire[f"{status:04X}"] += 1
                continue
            by_wire["context rejected"] += 1  # DICOMDIR and private classes
        outcome = gateway.ingest.store(path.read_bytes(), origin)
        by_file[outcome.disposition.value] += 1
        assert (
            outcome.disposition is Disposition.STORED
            or outcome.reason
            or (outcome.disposition is Disposition.DUPLICATE)
        )
    assert sum(by_wire.values()) + sum(by_file.values()) - by_wire["context rejected"] == len(bundled())
    print(f"over the wire: {dict(by_wire)}; as files: {dict(by_file)}; held: {held_by_reason(gateway)}")
    with house.database.read() as session:
        rows = list(session.scalars(select(Instance)))
    assert sorted(row.spool_name for row in rows) == sorted(house.spool.names())
    assert all(house.spool.size(row.spool_name) == row.size for row in rows)
    assert len(rows) > 40
    for item in gateway.quarantine.list(limit=1000):
        assert item.reason
        assert len(gateway.quarantine.open(item.id)) == item.size
    assert list(house.settings.tmp_dir.iterdir()) == []
    assert house.audit.verify().intact


def held_by_reason(gateway: Gateway) -> dict[str, int]:
    return dict(Counter(item.reason for item in gateway.quarantine.list(limit=1000)))


def test_dcmtk_sends_and_resends(server: DicomServer, gateway: Gateway, house: House) -> None:
    files = [p for p in bundled() if p.name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "RG3_UNCI.dcm")]
    assert files
    first = dcmtk.storescu(server.port, files, calling="KRSK_PACS")
    assert first.code == 0, first.output
    names = sorted(house.spool.names())
    again = dcmtk.storescu(server.port, files, calling="KRSK_PACS")
    assert again.code == 0
    assert set(again.statuses) <= {0x0000, 0xB000}
    assert sorted(house.spool.names()) == names
