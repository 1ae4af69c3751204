"""Every file of pydicom's bundled test set over the DICOM port: kept or quarantined with a reason, none lost."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
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

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]


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


def c_store(association: Any, context_id: int, sop_class: str, sop_instance: str, data: bytes) -> int | None:
    """One C-STORE of bytes as they are, whatever a library would say about them."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(data)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return None if response is None else int(response.Status)


def send_all(server: DicomServer, objects: dict[Path, tuple[str, str, str, bytes]]) -> dict[Path, int | None]:
    """Status of each object; None where its context was rejected. One association for every 100 contexts."""
    ae = AE("KRSK_PACS")
    ae.dimse_timeout = 60
    wanted = sorted({(sop_class, syntax) for sop_class, _, syntax, _ in objects.values()})
    answers: dict[Path, int | None] = {}
    for start in range(0, len(wanted), 100):
        some = wanted[start : start + 100]
        association = ae.associate(
            "127.0.0.1",
            server.port,
            contexts=[build_context(sop_class, syntax) for sop_class, syntax in some],
            ae_title="CONSILIUM",
        )
        accepted = {
            (str(c.abstract_syntax), str(c.transfer_syntax[0])): c.context_id
            for c in association.accepted_contexts
        }
        for path, (sop_class, sop_instance, syntax, data) in objects.items():
            if (sop_class, syntax) not in some:
                continue
            context_id = accepted.get((sop_class, syntax))
            answers[path] = None
            if context_id is not None:
                answers[path] = c_store(association, context_id, sop_class, sop_instance, data)
                assert answers[path] is not None, f"{path.name}: no answer"
        association.release()
    return answers


def test_every_bundled_file_is_kept_or_quarantined_and_none_is_lost(
    server: DicomServer, gateway: Gateway, house: House
) -> None:
    site = house.people.site("krsk")
    origin = Origin(site.id, site.code, "KRSK_PACS", "CONSILIUM", protocol="import")
    files = bundled()
    objects = {path: parts for path in files if (parts := split(path)) and parts[0] and parts[1]}
    answers = send_all(server, objects)
    for path, status in answers.items():
        assert status not in (0x0110, 0x0122, 0x0124, 0xA700), f"{path.name}: answered 0x{status:04X}"
    for path in files:
        if answers.get(path) is None:  # no file meta information, a directory, a private class
            outcome = gateway.ingest.store(path.read_bytes(), origin)
            assert outcome.reason or outcome.disposition in (Disposition.STORED, Disposition.DUPLICATE)
    with house.database.read() as session:
        rows = list(session.scalars(select(Instance)))
    assert sorted(row.spool_name for row in rows) == sorted(house.spool.names())
    assert all(house.spool.size(row.spool_name) == row.size for row in rows)
    assert len(rows) > 100
    for item in gateway.quarantine.list(limit=1000):
        assert item.reason
        assert len(gateway.quarantine.open(item.id)) == item.size
    print(f"kept: {len(rows)}; held: {held_by_reason(gateway)}")
    assert len(rows) + gateway.quarantine.count() + duplicates(files) >= len(files)
    assert list(house.settings.tmp_dir.iterdir()) == []
    assert house.audit.verify().intact


def duplicates(files: list[Path]) -> int:
    """How many files hold a data set another one holds too."""
    contents = Counter((parts[2], parts[3]) if (parts := split(p)) else ("", p.read_bytes()) for p in files)
    return sum(count - 1 for count in contents.values())


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
