"""Fences of the receiving side: PDU length, time, memory and where the bytes of a data set go.

Bare pynetdicom, which negotiates, reads a PDU of any length the peer forges, and waits for its last byte for ever; so
its socket is fenced here. What an established association sends is read by `gateway.pdata` within the same limits. A
data set is in memory while small and in a file without a name while large, so not even SIGKILL leaves identified bytes
on the disk.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.transport import AddressInformation, AssociationSocket

from config.errors import StorageFull, TransientError
from storage.durable import translated_io

log = structlog.get_logger(__name__)

IN_MEMORY = 4 << 20
"""Bytes of a data set kept in memory; larger ones go through a file."""

LOOK_EVERY = 16 << 20
"""Bytes between two looks at the free space of the disk."""

COMMAND_LIMIT = 64 << 10
"""Bytes of a command set; the largest of the standard has a few hundred (PS3.7 9)."""

ASSOCIATE_LIMIT = 1 << 20
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with every transfer syntax there is stay below this (PS3.8 9.3.2)."""

PDU_SECONDS = 60.0
"""From the first byte of a PDU to its last; a trickle is cut."""


class FenceBroken(OSError):
    """The peer sent more, or slower, than any honest peer would."""


class IncomingDataSet(BytesIO):
    """A data set being received, with file meta information before it: in memory first, in a nameless file when large.

    Parameters
    ----------
    directory
        The protected temporary directory.
    header
        Makes what stands before the data set, once its first byte is there.
    reserve
        Free bytes the disk must keep.

    Notes
    -----
    A disk that fails while bytes are coming in must become a status the sender understands (0xA700), not a broken
    association: the rest is then received and dropped, and `source` raises.
    """

    def __init__(
        self, directory: Path, header: Callable[[], bytes], *, in_memory: int = IN_MEMORY, reserve: int = 0
    ) -> None:
        super().__init__()
        self._directory = directory
        self._header = header
        self._in_memory = in_memory
        self._reserve = reserve
        self._file: BinaryIO | None = None
        self._failure: TransientError | None = None
        self._look_at = in_memory
        self.size = 0

    def write(self, data: Any) -> int:
        if self.size == 0:
            header = self._header()
            self.size = super().write(header)
        self.size += len(data)
        if self._failure is not None:
            return len(data)
        if self.size <= self._in_memory:
            return super().write(data)
        try:
            self._write_to_file(data)
        except TransientError as error:
            self._failure = error
            self._close_file()
        return len(data)

    def _write_to_file(self, data: Any) -> None:
        with translated_io("the temporary directory"):
            if self.size > self._look_at:
                self._look_at = self.size + LOOK_EVERY
                if shutil.disk_usage(self._directory).free < self._reserve + LOOK_EVERY:
                    raise StorageFull("the disk reserve is reached; free space on the disk of tmp")
            if self._file is None:
                self._file = nameless_file(self._directory)
                self._file.write(self.getbuffer())
                self.seek(0)
                self.truncate()
            self._file.write(data)

    def source(self) -> bytes | Path:
        """The whole Part 10 file: bytes, or a path that opens while this object is open.

        Raises
        ------
        StorageFull, StorageUnavailable
            The temporary directory could not hold it.
        """
        if self._failure is not None:
            raise self._failure
        if self._file is None:
            return self.getvalue()
        with translated_io("the temporary directory"):
            self._file.flush()
        return path_of(self._file)

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def close(self) -> None:
        self._close_file()
        super().close()


def nameless_file(directory: Path) -> BinaryIO:
    """A temporary file without a name (O_TMPFILE, where the file system has it): it ends with the process."""
    file: BinaryIO = tempfile.TemporaryFile(dir=directory, prefix="receive-")  # noqa: SIM115
    return file


def path_of(file: BinaryIO) -> Path:
    """A path that opens a nameless file of this process, for as long as it is open (proc(5))."""
    return Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def part10_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1) before a data set that came without."""
    elements = (
        (b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00", b"\x00\x01"),
        (b"\x02\x00\x02\x00UI", _ui(sop_class_uid)),
        (b"\x02\x00\x03\x00UI", _ui(sop_instance_uid)),
        (b"\x02\x00\x10\x00UI", _ui(transfer_syntax_uid)),
        (b"\x02\x00\x12\x00UI", _ui(PYNETDICOM_IMPLEMENTATION_UID)),
    )
    body = b"".join(
        head + (b"" if head[4:6] == b"OB" else len(value).to_bytes(2, "little")) + value
        for head, value in elements
    )
    return bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + len(body).to_bytes(4, "little") + body


def _ui(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")[:64]
    return value + b"\0" * (len(value) % 2)


class FencedSocket(AssociationSocket):
    """Reads whole PDUs no longer than agreed, each within `PDU_SECONDS`."""

    def __init__(
        self,
        assoc: Any,
        client_socket: Any = None,
        address: AddressInformation | None = None,
        *,
        max_pdu: int,
    ) -> None:
        super().__init__(assoc, client_socket, address)
        self._longest = max(max_pdu, ASSOCIATE_LIMIT)

    @property
    def ready(self) -> bool:
        # poll, for select fails with descriptors above 1023
        sock = self.socket
        if sock is None or self._is_connected is False:
            return False
        if self.assoc.dul.state_machine.current_state == "Sta6":
            return False  # established: whatever comes from here on is read by `gateway.pdata`
        try:
            poll = select.poll()
            poll.register(sock, select.POLLIN | select.POLLPRI)
            if poll.poll(0):
                return True
            return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def _shutdown_socket(self) -> None:
        # pynetdicom leaves the descriptor open when the peer was faster to disconnect
        sock = self.socket
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                sock.close()

    def recv(self, nr_bytes: int) -> bytearray:
        try:
            received = self._recv(nr_bytes)
        except OSError:
            self._end_waiting()
            raise
        if len(received) < nr_bytes:
            self._end_waiting()
        return received

    def _end_waiting(self) -> None:
        """The peer is gone before it said who it is: pynetdicom would wait on for it until the ACSE timeout."""
        dul = self.assoc.dul
        if dul.state_machine.current_state == "Sta2":
            waiting: Any = dul.to_user_queue
            waiting.put(None)

    def _recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > self._longest:
            log.warning("pdu.too_long", size=nr_bytes, limit=self._longest)
            raise FenceBroken("a PDU longer than agreed")
        sock = self.socket
        assert sock is not None
        buffer = bytearray(nr_bytes)
        view = memoryview(buffer)
        until = time.monotonic() + PDU_SECONDS
        received = 0
        try:
            while received < nr_bytes:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    log.warning("pdu.too_slow", size=nr_bytes)
                    raise FenceBroken("a PDU that does not end")
                sock.settimeout(remaining)
                count = sock.recv_into(view[received:])
                if count == 0:
                    break
                received += count
        finally:
            view.release()
            sock.settimeout(PDU_SECONDS)
        del buffer[received:]
        return buffer
