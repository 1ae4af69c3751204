"""Real senders (DCMTK, pynetdicom, bare sockets) against the DICOM port: what arrived, and what was answered.

Here what lies behind the port keeps instances in memory; `test_ingest` and `test_receiving_everything` put the real
thing there.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, _config
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

from config.errors import StorageFull, StorageUnavailable
from gateway.association import AssociationPolicy
from gateway.receiving import IN_MEMORY, PDU_SECONDS, IncomingDataSet, part10_header
from gateway.server import DicomServer
from gateway.storage_scp import StorageSCP
from storage.records import Disposition, Origin, Outcome
from tests.gateway.conftest import House
from tests.peers import dcmtk

pytestmark = pytest.mark.slow

CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass
class Memory:
    """Keeps in memory what the port hands on; answers or raises what a test tells it."""

    answer: Outcome | BaseException = field(default_factory=lambda: Outcome(Disposition.STORED))
    kept: list[bytes] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    announced: list[tuple[str, str]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    def __call__(
        self, source: bytes | Path, origin: Origin, *, sop_class_uid: str, sop_instance_uid: str
    ) -> Outcome:
        if isinstance(self.answer, BaseException):
            raise self.answer
        if isinstance(source, Path):
            self.paths.append(source)
            source = source.read_bytes()
        self.kept.append(source)
        self.announced.append((sop_class_uid, sop_instance_uid))
        self.origins.append(origin)
        return self.answer


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture(autouse=True)
def restore_library_settings() -> Iterator[None]:
    before = (_config.LOG_HANDLER_LEVEL, dict(_config.VALIDATORS))
    yield
    _config.LOG_HANDLER_LEVEL, _config.VALIDATORS = before[0], before[1]


def listen(house: House, memory: Memory, **changes: object) -> DicomServer:
    settings = replace(house.settings, dicom_port=0, **changes)  # type: ignore[arg-type]
    policy = AssociationPolicy(
        house.people,
        house.audit,
        house.spool,
        ae_title=settings.dicom_ae_title,
        limit=settings.dicom_max_associations,
    )
    server = DicomServer(settings, policy, StorageSCP(memory, house.audit))
    server.start()
    return server


@pytest.fixture
def server(house: House, memory: Memory) -> Iterator[DicomServer]:
    server = listen(house, memory, private_sop_classes=("1.2.826.0.1.3680043.9.1",))
    yield server
    server.stop(grace=1)


def sender(*requested: tuple[str, list[str]], title: str = "KRSK_PACS") -> AE:
    ae = AE(title)
    for uid, syntaxes in requested or ((CT, [EXPLICIT]),):
        ae.add_requested_context(uid, syntaxes)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 10
    return ae


# --- negotiation ---


def test_echo_of_dcmtk(server: DicomServer) -> None:
    assert dcmtk.echoscu(server.port, calling="KRSK_PACS").ok


@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [
        ("STRANGER", "CONSILIUM", (1, 1, 3)),
        ("KRSK_PACS", "ORTHANC", (1, 1, 7)),
        ("STRANGER", "ORTHANC", (1, 1, 3)),
    ],
)
def test_strangers_are_rejected_with_the_reason(
    server: DicomServer, calling: str, called: str, expected: tuple[int, int, int]
) -> None:
    association = sender(title=calling).associate("127.0.0.1", server.port, ae_title=called)
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == expected


def test_dcmtk_is_told_why(server: DicomServer) -> None:
    told = dcmtk.echoscu(server.port, calling="STRANGER")
    assert not told.ok
    assert "Calling AE Title Not Recognized" in told.output


def test_one_association_more_than_the_limit_is_rejected_for_now(house: House, memory: Memory) -> None:
    server = listen(house, memory, dicom_max_associations=1)
    try:
        first = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
        assert first.is_established
        second = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
        answer = second.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        first.release()
        wait(lambda: len(server._server.active_associations) == 0)
        third = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
        assert third.is_established
        third.release()
    finally:
        server.stop(grace=1)


def test_contexts_are_answered_one_by_one(server: DicomServer) -> None:
    ae = sender((CT, ["1.2.840.10008.1.2.4.202"]), (CT, [EXPLICIT]), ("1.2.826.0.1.3680043.9.1", [EXPLICIT]))
    ae.add_requested_context("1.2.826.0.1.3680043.9.999", EXPLICIT)
    ae.add_requested_context(CT, "1.2.840.10008.1.2.4.94")  # JPIP: pixels are elsewhere
    # pynetdicom joins contexts of one class, so they are requested explicitly
    ae.requested_contexts = []
    wanted = [
        build_context(CT, "1.2.840.10008.1.2.4.202"),
        build_context(CT, EXPLICIT),
        build_context("1.2.826.0.1.3680043.9.1", EXPLICIT),
        build_context("1.2.826.0.1.3680043.9.999", EXPLICIT),
        build_context(CT, "1.2.840.10008.1.2.4.94"),
    ]
    association = ae.associate("127.0.0.1", server.port, contexts=wanted, ae_title="CONSILIUM")
    assert association.is_established
    accepted = [(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts]
    rejected = [(str(c.abstract_syntax), c.result) for c in association.rejected_contexts]
    association.release()
    assert accepted == [
        (CT, "1.2.840.10008.1.2.4.202"),
        (CT, EXPLICIT),
        ("1.2.826.0.1.3680043.9.1", EXPLICIT),
    ]
    assert rejected == [("1.2.826.0.1.3680043.9.999", 3), (CT, 4)]


# --- storing ---


def test_dcmtk_stores_and_the_bytes_arrive_unchanged(server: DicomServer, memory: Memory) -> None:
    sent = dcmtk.storescu(server.port, [CT_FILE], calling="KRSK_PACS")
    assert sent.ok, sent.output
    (kept,) = memory.kept
    original, arrived = pydicom.dcmread(CT_FILE), pydicom.dcmread(BytesIO(kept))
    assert arrived.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert arrived.file_meta.MediaStorageSOPInstanceUID == original.SOPInstanceUID
    assert hashlib.sha256(arrived.PixelData).digest() == hashlib.sha256(original.PixelData).digest()
    del original[0xFFFCFFFC]  # Data Set Trailing Padding, which DCMTK does not send
    assert arrived == original
    assert memory.announced == [(CT, original.SOPInstanceUID)]
    (origin,) = memory.origins
    assert (origin.site_code, origin.calling_ae, origin.address) == ("krsk", "KRSK_PACS", "127.0.0.1")


def test_a_large_object_comes_by_a_nameless_file(server: DicomServer, memory: Memory, house: House) -> None:
    ds = pydicom.dcmread(CT_FILE)
    ds.Rows = ds.Columns = 2048
    ds.PixelData = bytes(range(256)) * (2048 * 2048 * 2 // 256)
    seen: list[list[Path]] = []
    keep = memory.__call__

    def look(*args: object, **named: object) -> Outcome:
        seen.append(list(house.settings.tmp_dir.iterdir()))
        return keep(*args, **named)  # type: ignore[arg-type]

    server._scp._keep = look  # type: ignore[assignment]
    assert send(server, ds) == 0x0000
    (kept,) = memory.kept
    assert pydicom.dcmread(BytesIO(kept)).PixelData == ds.PixelData
    assert len(memory.paths) == 1
    assert seen == [[]]  # the temporary directory showed nothing even then
    with pytest.raises(FileNotFoundError):
        memory.paths[0].read_bytes()


def test_private_classes_that_settings_name_are_stored(server: DicomServer, memory: Memory) -> None:
    ds = pydicom.dcmread(CT_FILE)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.9.1"
    assert send(server, ds) == 0x0000
    assert memory.announced[0][0] == "1.2.826.0.1.3680043.9.1"


@pytest.mark.parametrize(
    ("answer", "status", "comment"),
    [
        (Outcome(Disposition.STORED), 0x0000, ""),
        (Outcome(Disposition.DUPLICATE), 0x0000, ""),
        (Outcome(Disposition.STORED, coerced=True), 0xB000, ""),
        (Outcome(Disposition.CONFLICT, reason="conflicting-content"), 0xB000, "kept for review"),
        (Outcome(Disposition.QUARANTINED, reason="unknown-attribute"), 0xB000, "unknown-attribute"),
        (Outcome(Disposition.QUARANTINED, reason="unparseable"), 0xC000, "unparseable"),
        (Outcome(Disposition.QUARANTINED, reason="class-mismatch"), 0xA900, "class-mismatch"),
        (Outcome(Disposition.QUARANTINED, reason="malformed-uid"), 0x0117, "malformed-uid"),
        (Outcome(Disposition.QUARANTINED, reason="internal"), 0x0110, "internal"),
        (OSError(5, "Input/output error"), 0xA700, "send again"),
        (StorageFull("full"), 0xA700, "send again"),
        (StorageUnavailable("down"), 0xA700, "send again"),
        (MemoryError(), 0xA700, "send again"),
        (ValueError("DOE^JOHN"), 0x0110, "not kept"),
        (RecursionError(), 0x0110, "not kept"),
    ],
)
def test_every_row_of_the_status_table(
    server: DicomServer, memory: Memory, answer: Outcome | BaseException, status: int, comment: str
) -> None:
    memory.answer = answer
    association = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
    response = association.send_c_store(CT_FILE)
    association.release()
    assert response.Status == status
    assert comment in response.get("ErrorComment", "")
    assert "DOE" not in str(response)


def test_a_class_other_than_the_contexts_is_not_negotiated(server: DicomServer, memory: Memory) -> None:
    ds = pydicom.dcmread(CT_FILE)
    association = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
    # announce MR over the context of CT: no library sends this by itself
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    request.AffectedSOPInstanceUID = ds.SOPInstanceUID
    request.Priority = 2
    request.DataSet = BytesIO(encode(ds, False, True) or b"")
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert response.Status == 0x0122
    assert memory.kept == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:.*exceeds the maximum length")
@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3/../4", "1" * 80, "1..2", "DOE^JOHN"])
def test_a_malformed_uid_reaches_us_and_not_the_disk(
    server: DicomServer, memory: Memory, house: House, uid: str
) -> None:
    memory.answer = Outcome(Disposition.QUARANTINED, reason="malformed-uid")
    before = sorted(house.settings.home.rglob("*"))
    ds = pydicom.dcmread(CT_FILE)
    with pydicom.config.disable_value_validation():
        ds.SOPInstanceUID = uid
    assert send(server, ds) == 0x0117
    assert memory.announced[0][1] == uid
    assert sorted(house.settings.home.rglob("*")) == before


def test_what_an_association_brought_is_recorded(server: DicomServer, memory: Memory, house: House) -> None:
    memory.answer = Outcome(Disposition.STORED, study_instance_uid="2.25.7")
    assert dcmtk.storescu(server.port, [CT_FILE, CT_FILE], calling="KRSK_PACS").ok
    wait(lambda: house.audit.search(action="instances.receive")[1])
    (event,), _ = house.audit.search(action="instances.receive")
    assert (event.actor, event.subject, event.details) == ("ae:KRSK_PACS", "study:2.25.7", {"stored": 2})


def test_a_disk_that_fills_while_receiving_is_a_status_not_a_broken_association(
    house: House, memory: Memory
) -> None:
    server = listen(house, memory)
    server._server.settings = replace(house.settings, disk_reserve=1 << 60)  # below its reserve from now on
    try:
        ds = pydicom.dcmread(CT_FILE)
        ds.PixelData = bytes(IN_MEMORY)
        assert send(server, ds) == 0xA700
        assert send(server, pydicom.dcmread(CT_FILE)) == 0x0000
    finally:
        server.stop(grace=1)


# --- hostile callers ---


def associate_rq(calling: bytes = b"KRSK_PACS", called: bytes = b"CONSILIUM") -> bytes:
    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(body)) + body

    context = item(0x20, b"\x01\0\0\0" + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode()))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BxI", 1, len(body)) + body


def connect(server: DicomServer, *, associated: bool = False) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    if associated:
        peer.sendall(associate_rq())
        assert peer.recv(1) == b"\x02"
        peer.recv(4096)
    return peer


@pytest.mark.parametrize("associated", [False, True])
@pytest.mark.parametrize("kind", [1, 4])
def test_a_forged_pdu_length_is_cut_at_once(
    server: DicomServer, memory: Memory, kind: int, associated: bool
) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect(server, associated=associated) as peer:
        peer.sendall(struct.pack(">BxI", kind, 0xFFFFFFF0) + bytes(1 << 16))
        peer.settimeout(5)
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert dcmtk.storescu(server.port, [CT_FILE], calling="KRSK_PACS").ok


@pytest.mark.parametrize(
    "pdvs",
    [
        b"",
        b"\x00\x00\x00\x02\x01\x03",  # an empty command set
        b"\x00\x00\x00\x06\x01\x03\xff\xff\xff\xff",
        b"\x00\x00\x00\x06\x01\x02\x00\x00\x00\x00",  # a data set without a command
        b"\xff\xff\xff\xff\x01\x03",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x01",
    ],
)
def test_malformed_messages_end_the_association_only(
    server: DicomServer, memory: Memory, house: House, pdvs: bytes
) -> None:
    with connect(server, associated=True) as peer:
        peer.sendall(struct.pack(">BxI", 4, len(pdvs)) + pdvs)
        peer.settimeout(1)
        with suppress(TimeoutError):
            peer.recv(4096)
    assert memory.kept == []
    assert list(house.settings.tmp_dir.iterdir()) == []
    assert dcmtk.echoscu(server.port, calling="KRSK_PACS").ok


def test_an_endless_command_set_is_cut(server: DicomServer) -> None:
    pdv = bytes([1, 1]) + bytes(10_000)  # a command fragment, not the last
    pdu = struct.pack(">BxI", 4, len(pdv) + 4) + struct.pack(">I", len(pdv)) + pdv
    with connect(server, associated=True) as peer, pytest.raises(OSError):
        for _ in range(2000):
            peer.sendall(pdu)
            time.sleep(0.001)
    assert dcmtk.echoscu(server.port, calling="KRSK_PACS").ok


def p_data(control: int, data: bytes) -> bytes:
    """A P-DATA-TF PDU with one fragment: control 3 is a whole command, 0 a part of a data set, 2 its last part."""
    pdv = struct.pack(">IBB", len(data) + 2, 1, control) + data
    return struct.pack(">BxI", 4, len(pdv)) + pdv


def store_command(sop_instance_uid: str = "1.2.3") -> bytes:
    command = pydicom.Dataset()
    command.AffectedSOPClassUID, command.AffectedSOPInstanceUID = CT, sop_instance_uid
    command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 0, 1
    encoded = encode(command, True, True)
    assert encoded is not None
    return p_data(3, b"\0\0\0\0\x04\0\0\0" + struct.pack("<I", len(encoded)) + encoded)


@pytest.mark.parametrize("megabytes", [0, 1, 9])
def test_an_association_broken_in_the_middle_of_an_object_leaves_nothing(
    server: DicomServer, memory: Memory, house: House, megabytes: int
) -> None:
    with connect(server, associated=True) as peer:
        peer.sendall(store_command())
        for _ in range(megabytes * 16):
            peer.sendall(p_data(0, bytes(1 << 16)))
        peer.sendall(p_data(0, bytes(100))[:-20])
    wait(lambda: not server._server.active_associations)
    assert memory.kept == []
    assert list(house.settings.tmp_dir.iterdir()) == []
    assert send(server, pydicom.dcmread(CT_FILE)) == 0x0000


def test_silent_connections_do_not_shut_others_out(server: DicomServer) -> None:
    silent = [connect(server) for _ in range(60)]
    try:
        started = time.monotonic()
        assert dcmtk.echoscu(server.port, calling="KRSK_PACS").ok
        assert time.monotonic() - started < 5
    finally:
        for peer in silent:
            peer.close()


def test_a_trickle_is_cut(server: DicomServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.receiving.PDU_SECONDS", 0.5)
    with connect(server, associated=True) as peer:
        peer.sendall(struct.pack(">BxI", 4, 1000))
        started = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - started < 10:
                peer.sendall(b"\0")
                time.sleep(0.05)
        assert time.monotonic() - started < 5
    assert PDU_SECONDS > 10


def test_stop_lets_a_transfer_end(house: House, memory: Memory) -> None:
    server = listen(house, memory)
    association = sender().associate("127.0.0.1", server.port, ae_title="CONSILIUM")
    stopping = threading.Thread(target=server.stop, args=(10,))
    stopping.start()
    time.sleep(0.2)
    assert association.send_c_store(CT_FILE).Status == 0x0000
    association.release()
    stopping.join(5)
    assert not stopping.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", 1 if server._server else 0), timeout=1)


# --- TLS ---


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    import subprocess

    for name in ("gateway", "hospital"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
    return tmp_path


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_tls_with_client_certificates(house: House, memory: Memory, certificates: Path) -> None:
    server = listen(
        house,
        memory,
        dicom_tls_cert=certificates / "gateway.pem",
        dicom_tls_key=certificates / "gateway.key",
        dicom_tls_ca=certificates / "hospital.pem",
    )
    own = ("+tls", str(certificates / "hospital.key"), str(certificates / "hospital.pem"))
    trust = ("+cf", str(certificates / "gateway.pem"))
    try:
        stalled = [connect(server) for _ in range(5)]  # handshakes nobody finishes
        sent = dcmtk.storescu(server.port, [CT_FILE], *own, *trust, calling="KRSK_PACS")
        assert sent.ok, sent.output
        assert len(memory.kept) == 1
        assert not dcmtk.echoscu(server.port, calling="KRSK_PACS").ok  # in clear
        assert not dcmtk.echoscu(server.port, "+tla", *trust, calling="KRSK_PACS").ok  # without a certificate
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", server.port)) as plain, pytest.raises(OSError):
            old.wrap_socket(plain)
        for peer in stalled:
            peer.close()
    finally:
        server.stop(grace=1)


# --- the buffer ---


@pytest.mark.parametrize("sizes", [[], [1], [10], [11], [5, 5], [5, 5, 1], [100, 100]])
def test_a_data_set_is_whole_in_memory_or_in_a_file(tmp_path: Path, sizes: list[int]) -> None:
    incoming = IncomingDataSet(tmp_path, lambda: b"HEAD", in_memory=14)
    expected = b"HEAD" if sizes else b""
    for number, size in enumerate(sizes):
        expected += bytes([number]) * size
        incoming.write(bytes([number]) * size)
    source = incoming.source()
    assert isinstance(source, bytes) == (len(expected) <= 14)
    assert (source if isinstance(source, bytes) else source.read_bytes()) == expected
    incoming.close()
    assert list(tmp_path.iterdir()) == []


def test_the_header_is_a_part_10_header() -> None:
    header = part10_header(CT, "1.2.3", EXPLICIT)
    meta = pydicom.dcmread(BytesIO(header)).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.FileMetaInformationGroupLength == len(header) - 128 - 4 - 12
    assert meta.FileMetaInformationVersion == b"\x00\x01"


def send(server: DicomServer, ds: pydicom.Dataset) -> int:
    association = sender((str(ds.SOPClassUID), [EXPLICIT])).associate(
        "127.0.0.1", server.port, ae_title="CONSILIUM"
    )
    assert association.is_established
    response = association.send_c_store(ds)
    association.release()
    return int(response.Status)


def wait(condition: object, seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.02)
