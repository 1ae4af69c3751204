"""The loop on an established association's socket, spoken to byte by byte."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import decode as decode_with_pynetdicom
from pynetdicom.dsutils import encode

from gateway import pdata, receiving
from gateway.command_set import Command, Malformed, decode, encode_response
from gateway.pdata import Context, Conversation, End
from gateway.receiving import IncomingDataSet
from gateway.status import Status
from gateway.storage_scp import StoreRequest

pytestmark = pytest.mark.slow

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CONTEXTS = {1: Context(CT, EXPLICIT), 3: Context(MR, IMPLICIT)}
MAX_PDU = 16384


class Line:
    """A conversation in a thread, and the peer's end of its connection."""

    def __init__(self, directory: Path, peer_max_pdu: int = 16384, idle: float = 20.0) -> None:
        self.peer, ours = socket.socketpair()
        self.peer.settimeout(10)
        self._ours = ours
        self.directory = directory
        self.requests: list[StoreRequest] = []
        self.kept: list[bytes] = []
        self.sources: list[bytes | Path] = []
        self.status = Status(0x0000)
        self.end: End | None = None
        self.error: BaseException | None = None
        self.conversation = Conversation(
            ours,
            max_pdu=MAX_PDU,
            peer_max_pdu=peer_max_pdu,
            contexts=CONTEXTS,
            store=self._store,
            incoming=lambda header: IncomingDataSet(directory, header, in_memory=100_000),
            idle=idle,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.end = self.conversation.run()
        except BaseException as error:
            self.error = error
        finally:
            self._ours.close()

    def _store(self, request: StoreRequest) -> Status:
        source = request.source()
        self.sources.append(source)
        self.requests.append(request)
        self.kept.append(source if isinstance(source, bytes) else source.read_bytes())
        return self.status

    def send(self, *parts: bytes) -> None:
        self.peer.sendall(b"".join(parts))

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; type 0 at the end of the connection."""
        head = self._exactly(6)
        if not head:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.peer.recv(size - len(data))
            if not more:
                assert not data, "cut inside a PDU"
                return b""
            data += more
        return data

    def response(self) -> tuple[int, Dataset]:
        """Context and command set of the next response."""
        command, last = b"", False
        while not last:
            kind, body = self.receive()
            assert kind == 4
            length, context_id, control = struct.unpack_from(">IBB", body)
            assert length == len(body) - 4
            command += body[6:]
            last = control == 3
        return context_id, decode_with_pynetdicom(BytesIO(command), True, True)

    def aborted(self) -> int:
        """The reason of the A-ABORT that comes next."""
        kind, body = self.receive()
        assert kind == 7
        assert body[2] == 2
        return body[3]

    def wait(self) -> End | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.end

    def close(self) -> None:
        self.peer.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self.error is None
        assert list(self.directory.iterdir()) == []


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


def pdv(control: int, data: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def pdu(*values: bytes, kind: int = 4) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxI", kind, len(body)) + body


def command(
    field: int = 1, uid: str = "1.2.3", *, sop_class: str = CT, data: bool = True, number: int = 7
) -> bytes:
    made = Dataset()
    made.CommandField, made.MessageID, made.CommandDataSetType = field, number, 1 if data else 0x0101
    made.AffectedSOPClassUID = sop_class
    if field == 1:
        made.AffectedSOPInstanceUID, made.Priority = uid, 0
    encoded = encode(made, True, True)
    assert encoded is not None
    return b"\0\0\0\0\x04\0\0\0" + struct.pack("<I", len(encoded)) + encoded


RELEASE = pdu(bytes(4), kind=5)
ABORT = pdu(bytes(4), kind=7)


def fragments(data: bytes, size: int, context_id: int = 1) -> bytes:
    """A data set in P-DATA-TFs of at most `size` bytes of data each."""
    parts = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    last = pdu(pdv(2, parts.pop(), context_id))
    return b"".join(pdu(pdv(0, part, context_id)) for part in parts) + last


# --- what goes well ---


def test_store_echo_store_release(line: Line) -> None:
    for number in (1, 2):
        line.send(pdu(pdv(3, command(uid=f"1.2.{number}", number=number))), fragments(b"x" * 40_000, 9_999))
        context_id, response = line.response()
        assert (context_id, response.CommandField, response.Status) == (1, 0x8001, 0)
        assert (response.MessageIDBeingRespondedTo, response.AffectedSOPInstanceUID) == (
            number,
            f"1.2.{number}",
        )
        assert response.AffectedSOPClassUID == CT
        line.send(pdu(pdv(3, command(0x30, sop_class="1.2.840.10008.1.1", data=False))))
        assert line.response()[1].CommandField == 0x8030
    line.send(RELEASE)
    assert line.receive() == (6, bytes(4))
    assert line.wait() is End.RELEASED
    assert [kept[-40_000:] for kept in line.kept] == [b"x" * 40_000] * 2
    assert [(r.sop_class_uid, r.sop_instance_uid, r.abstract_syntax) for r in line.requests] == [
        (CT, "1.2.1", CT),
        (CT, "1.2.2", CT),
    ]


def test_two_contexts_each_in_its_own_transfer_syntax(line: Line) -> None:
    line.send(pdu(pdv(3, command())), fragments(b"one", 2))
    line.send(pdu(pdv(3, command(sop_class=MR), 3)), fragments(b"two", 2, 3))
    assert (line.response()[0], line.response()[0]) == (1, 3)
    assert [r.abstract_syntax for r in line.requests] == [CT, MR]
    assert EXPLICIT.encode() in line.kept[0]
    assert IMPLICIT.encode() + b"\0" in line.kept[1]


@pytest.mark.parametrize("size", [1, 7, 100, 16378])
def test_however_it_is_cut_into_pieces_it_is_the_same(line: Line, size: int) -> None:
    encoded = command()
    head = b"".join(pdu(pdv(1, encoded[i : i + 1])) for i in range(len(encoded) - 1)) + pdu(
        pdv(3, encoded[-1:])
    )
    data = bytes(range(256)) * 20
    stream = head + fragments(data, size) + RELEASE

    def trickle() -> None:
        for start in range(0, len(stream), 997):
            line.peer.sendall(stream[start : start + 997])

    sending = threading.Thread(target=trickle)
    sending.start()
    assert line.response()[1].Status == 0
    assert line.receive()[0] == 6
    sending.join()
    assert line.kept[0].endswith(data)


def test_command_and_data_in_one_pdu_and_many_messages_at_once(line: Line) -> None:
    line.send(*(pdu(pdv(3, command(uid=f"1.2.{n}")), pdv(0, b"ab"), pdv(2, b"cd")) for n in range(500)))
    for _ in range(500):
        assert line.response()[1].Status == 0
    assert all(kept.endswith(b"abcd") for kept in line.kept)
    assert [r.sop_instance_uid for r in line.requests] == [f"1.2.{n}" for n in range(500)]


def test_small_in_memory_large_in_a_nameless_file(line: Line) -> None:
    for size in (90_000, 300_000):
        line.send(pdu(pdv(3, command())), fragments(b"z" * size, 16_000))
        assert line.response()[1].Status == 0
        assert line.kept[-1].endswith(b"z" * size)
    assert [type(source) for source in line.sources] == [bytes, type(Path())]
    with pytest.raises(FileNotFoundError):
        Path(str(line.sources[1])).read_bytes()


def test_a_status_and_its_comment_arrive(line: Line) -> None:
    line.status = Status(0xA700, "cannot be kept now, send again later")
    line.send(pdu(pdv(3, command())), fragments(b"data", 4))
    response = line.response()[1]
    assert (response.Status, response.ErrorComment) == (0xA700, "cannot be kept now, send again later")


def test_an_answer_fits_what_the_peer_can_take(tmp_path: Path) -> None:
    line = Line(tmp_path, peer_max_pdu=20)
    line.send(pdu(pdv(3, command())), fragments(b"data", 4))
    assert line.response()[1].AffectedSOPInstanceUID == "1.2.3"
    line.close()


def test_other_services_are_refused_and_their_data_dropped(line: Line) -> None:
    line.send(pdu(pdv(3, command(0x20))), fragments(b"q" * 50_000, 10_000))  # C-FIND-RQ
    response = line.response()[1]
    assert (response.CommandField, response.Status) == (0x8020, 0x0211)
    line.send(
        pdu(pdv(3, command(0x0FFF, data=False))), pdu(pdv(3, command(0x8001, data=False)))
    )  # no answer to these
    line.send(pdu(pdv(3, command(data=False))))
    assert line.response()[1].Status == 0xC000
    assert line.kept == []


# --- what does not ---


def raw(control: int = 3, data: bytes = b"", context_id: int = 1, length: int | None = None) -> bytes:
    length = len(data) + 2 if length is None else length
    return struct.pack(">IBB", length, context_id, control) + data


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">BxI", 4, MAX_PDU + 1), 6),
        (struct.pack(">BxI", 4, 0xFFFFFFF0), 6),
        (struct.pack(">BxI", 9, 4), 1),
        (struct.pack(">BxI", 0, 4), 1),
        (pdu(bytes(70), kind=1), 2),
        (pdu(bytes(4), kind=6), 2),
        (pdu(), 6),
        (pdu(b"\0\0\0"), 6),
        (pdu(b"\0\0\0\0\x01\x03"), 6),
        (pdu(raw(length=1)), 6),
        (pdu(raw(length=0xFFFFFFFF)), 6),
        (pdu(raw(data=b"abc", length=6)), 6),
        (pdu(pdv(3, command(), 5)), 6),
        (pdu(pdv(3, command(), 2)), 6),
        (pdu(pdv(3, b"")), 6),
        (pdu(pdv(3, b"\0\0\0")), 6),
        (pdu(pdv(3, command()[:-3])), 6),
        (pdu(pdv(3, b"\xff\xff\xff\xff\xff\xff\xff\xff")), 6),
        (pdu(pdv(2, b"data without a command")), 6),
        (pdu(pdv(3, command())) + pdu(pdv(3, command())), 6),
        (pdu(pdv(3, command())) + pdu(pdv(1, b"more")), 6),
        (pdu(pdv(3, command())) + pdu(pdv(0, b"x")) + pdu(pdv(0, b"y", 3)), 6),
        (pdu(pdv(1, command())) + pdu(pdv(3, b"", 3)), 6),
        (pdu(pdv(3, command(0x30, data=False))) + pdu(pdv(2, b"x")), 6),
    ],
)
def test_what_breaks_the_protocol_is_aborted_and_nothing_kept(line: Line, sent: bytes, reason: int) -> None:
    line.send(sent)
    if sent.endswith(pdu(pdv(2, b"x"))):
        line.response()
    assert line.aborted() == reason
    line.peer.shutdown(socket.SHUT_WR)
    assert line.wait() is End.ABORTED
    assert line.kept == []


def test_an_endless_command_set_is_cut(line: Line) -> None:
    part = pdu(pdv(1, bytes(16_000)))
    with suppress(OSError):
        for _ in range(100):
            line.send(part)
    assert line.wait() is End.ABORTED


@pytest.mark.parametrize("size", [0, 50_000, 300_000])
@pytest.mark.parametrize("how", ["abort", "close", "cut"])
def test_an_object_that_ends_in_the_middle_is_not_kept(line: Line, size: int, how: str) -> None:
    line.send(pdu(pdv(3, command())), *(pdu(pdv(0, bytes(10_000))) for _ in range(size // 10_000)))
    if how == "abort":
        line.send(ABORT)
    elif how == "close":
        line.send(pdu(pdv(2, bytes(100)))[:-1])
        line.peer.close()
    else:
        time.sleep(0.05)
        line.conversation.cut()
    assert line.wait() is End.ABORTED
    assert line.kept == []


def test_silence_and_trickle_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Line(tmp_path, idle=0.2)
    assert silent.aborted() == 0
    silent.close()
    monkeypatch.setattr(receiving, "PDU_SECONDS", 0.3)
    slow = Line(tmp_path)
    began = time.monotonic()
    with suppress(OSError):
        slow.send(struct.pack(">BxI", 4, 1000))
        while time.monotonic() - began < 5 and slow.end is None:
            slow.send(b"\0")
            time.sleep(0.02)
    assert time.monotonic() - began < 3
    slow.close()


def test_a_failure_of_ours_aborts(tmp_path: Path) -> None:
    line = Line(tmp_path)

    def fail(_request: StoreRequest) -> Status:
        raise MemoryError

    line.conversation._store = fail
    line.send(pdu(pdv(3, command())), fragments(b"data", 4))
    assert line.aborted() == 0
    with pytest.raises(MemoryError):
        line.wait()
    line.peer.close()


def test_mutants_keep_nothing_that_was_not_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes flipped, cut out, doubled: the loop ends or answers, and what reaches the handler is one message's data."""
    monkeypatch.setattr(pdata, "DRAIN_SECONDS", 0.05)
    good = (
        pdu(pdv(3, command())) + fragments(b"D" * 300, 100) + pdu(pdv(3, command(0x30, data=False))) + RELEASE
    )
    dice = random.Random(7)
    for _ in range(1500):
        mutant = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(mutant))
            match dice.randrange(4):
                case 0:
                    mutant[place] = dice.randrange(256)
                case 1:
                    del mutant[place : place + dice.randint(1, 20)]
                case 2:
                    mutant[place:place] = mutant[place : place + dice.randint(1, 20)]
                case 3:
                    mutant[place] ^= 1 << dice.randrange(8)
            mutant = mutant or bytearray(b"\0")
        line = Line(tmp_path)
        with suppress(OSError):
            line.send(bytes(mutant))
            line.peer.shutdown(socket.SHUT_WR)
        assert line.wait() in (End.RELEASED, End.ABORTED)
        assert len(line.kept) <= 1
        assert all(len(kept) < 2000 for kept in line.kept)
        line.close()


# --- command sets ---


def test_a_command_set_reads_as_pynetdicom_writes_it() -> None:
    assert decode(command(uid="1.2.33")) == Command(1, 7, 1, CT, "1.2.33")
    assert decode(command(0x30, data=False)) == Command(0x30, 7, 0x0101, CT, "")


@pytest.mark.parametrize("status", [Status(0), Status(0xC000, "odd"), Status(0xB000, "even")])
def test_a_response_reads_in_pynetdicom(status: Status) -> None:
    encoded = encode_response(Command(1, 65535, 1, CT, "1.2.3"), status)
    read = decode_with_pynetdicom(BytesIO(encoded), True, True)
    assert read.CommandGroupLength == len(encoded) - 12
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 65535, status.code)
    assert read.get("ErrorComment", "") == status.comment
    assert [element.tag for element in read] == sorted(element.tag for element in read)


def test_a_uid_of_any_length_and_bytes_is_echoed_within_bounds() -> None:
    encoded = encode_response(Command(1, 1, 1, "\xff" * 500, "../" * 1000), Status(0x0117))
    assert len(encoded) < 250


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_command_set_that_was_cut_is_malformed_or_less(cut: int) -> None:
    with suppress(Malformed):
        decode(command()[:-cut])
