"""Reads an established association's socket: PDUs to messages, messages to the handler, answers back (PS3.8 9, PS3.7).

One thread waits on one socket: no polling, no queues, one buffer for all PDUs of an association. Negotiation is over
when this begins (`gateway.takeover`); here come P-DATA-TF, A-RELEASE-RQ and A-ABORT, and anything else ends the
association.

Fences: a PDU is no longer than we announced, and comes whole within `receiving.PDU_SECONDS` of its first byte; nobody
is silent for longer than the idle time; a command set is no longer than `receiving.COMMAND_LIMIT`; messages do not
interleave; data sets go where `receiving.IncomingDataSet` puts them, in memory while small. While an object is being
kept nothing is read, so a sender that is faster than the disk waits in TCP.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import Protocol

import structlog

from gateway import receiving
from gateway.command_set import DATA_SET_ABSENT, Command, Malformed, decode, encode_response
from gateway.receiving import IncomingDataSet, part10_header
from gateway.status import CANNOT_UNDERSTAND, SUCCESS, Status
from gateway.storage_scp import StoreRequest

log = structlog.get_logger(__name__)

P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
_KNOWN_TYPES = range(0x01, 0x08)
_HEADER = 6  # bytes: type, reserved, length (PS3.8 9.3.1)
_RELEASE_RP = struct.pack(">BxI4x", RELEASE_RP, 4)

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
_RESPONSE = 0x8000
_UNRECOGNIZED_OPERATION = Status(0x0211, "not served here")  # PS3.7 C.5.19

_COMMAND, _LAST = 0x01, 0x02  # bits of a message control header (PS3.8 E.2)

DRAIN_SECONDS = 1.0
"""After our A-ABORT: to read what is on its way, or the peer's TCP would throw the A-ABORT away with the rest."""

_BUFFER = 256 << 10  # bytes; more only when longer PDUs were announced


class Reason(Enum):
    """Why the service provider aborts (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class End(Enum):
    """How an association ended."""

    RELEASED = "released"
    ABORTED = "aborted"


class Violation(Exception):
    """The peer broke the protocol; `text` holds nothing of what it sent."""

    def __init__(self, text: str, reason: Reason = Reason.INVALID_PARAMETER) -> None:
        super().__init__(text)
        self.reason = reason


class _Gone(Exception):
    """The connection is closed."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


class Store(Protocol):
    """What `gateway.storage_scp.StorageSCP.store` is, bound to one association's reception."""

    def __call__(self, request: StoreRequest, /) -> Status: ...


class Conversation:
    """One established association, until it ends.

    Parameters
    ----------
    sock
        Connected, and read and written by nobody else.
    max_pdu
        The length we announced (PS3.8 D.1), bytes.
    peer_max_pdu
        The length the peer announced; 0 is no limit.
    contexts
        Accepted presentation contexts by id.
    incoming
        Makes the place for a data set, given what makes its header.
    idle
        Seconds of silence between PDUs before the association is aborted.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        max_pdu: int,
        peer_max_pdu: int,
        contexts: Mapping[int, Context],
        store: Store,
        incoming: Callable[[Callable[[], bytes]], IncomingDataSet],
        idle: float,
    ) -> None:
        self._sock = sock
        self._max_pdu = max_pdu
        self._fragment = max(peer_max_pdu - _HEADER, 1) if peer_max_pdu else 1 << 20
        self._contexts = contexts
        self._store = store
        self._incoming = incoming
        self._idle = idle
        self._sending = Lock()
        self._buffer = bytearray(max(_BUFFER, max_pdu + _HEADER))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # what is received and not yet read
        self._context_id = 0  # of the message being received; 0 between messages
        self._command_bytes = bytearray()
        self._command: Command | None = None
        self._data_set: IncomingDataSet | None = None

    def run(self) -> End:
        """Serve until the association ends; the socket is then still open."""
        try:
            while True:
                kind, start, end = self._next_pdu()
                if kind == P_DATA_TF:
                    self._p_data(start, end)
                elif kind == RELEASE_RQ:
                    self._send(_RELEASE_RP)
                    return End.RELEASED
                elif kind == ABORT:
                    return End.ABORTED
                else:
                    raise Violation("a PDU that does not belong into an association", Reason.UNEXPECTED_PDU)
        except Violation as violation:
            log.warning("association.violation", reason=str(violation))
            self.abort(violation.reason)
            self._drain()
        except (_Gone, OSError):
            pass
        except BaseException:
            self.abort(Reason.NOT_SPECIFIED)
            raise
        finally:
            self._forget()
        return End.ABORTED

    def abort(self, reason: Reason = Reason.NOT_SPECIFIED) -> None:
        """Send A-ABORT, and nothing after it."""
        with suppress(OSError):
            self._send(struct.pack(">BxIxxBB", ABORT, 4, 2, reason.value))
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End the conversation from another thread: wake the one that waits for the peer."""
        if not isinstance(self._sock, ssl.SSLSocket):  # which two threads may not use at once
            self.abort()
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    # --- PDUs ---

    def _next_pdu(self) -> tuple[int, int, int]:
        """Type of the next PDU, and where in the buffer its body is."""
        if self._start == self._end:
            self._start = self._end = 0
            self._receive(self._idle, "nothing was sent for too long")
        until = time.monotonic() + receiving.PDU_SECONDS
        self._fill(_HEADER, until)
        kind, length = struct.unpack_from(">BxI", self._buffer, self._start)
        if kind not in _KNOWN_TYPES:
            raise Violation("a PDU of an unknown type", Reason.UNRECOGNIZED_PDU)
        if length > self._max_pdu:
            log.warning("pdu.too_long", size=length, limit=self._max_pdu)
            raise Violation("a PDU longer than agreed")
        self._fill(_HEADER + length, until)
        start = self._start + _HEADER
        self._start = start + length
        return kind, start, start + length

    def _fill(self, size: int, until: float) -> None:
        """Receive until `size` bytes are there in one piece."""
        if self._start + size > len(self._buffer):
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        while self._end - self._start < size:
            self._receive(until - time.monotonic(), "a PDU that does not end")

    def _receive(self, seconds: float, otherwise: str) -> None:
        if seconds <= 0:
            raise Violation(otherwise, Reason.NOT_SPECIFIED)
        self._sock.settimeout(seconds)
        try:
            count = self._sock.recv_into(self._view[self._end :])
        except TimeoutError:
            raise Violation(otherwise, Reason.NOT_SPECIFIED) from None
        if count == 0:
            raise _Gone
        self._end += count

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._sock.settimeout(receiving.PDU_SECONDS)
            self._sock.sendall(data)

    def _drain(self) -> None:
        until = time.monotonic() + DRAIN_SECONDS
        with suppress(OSError):
            while (left := until - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv_into(self._view):
                    return

    # --- messages ---

    def _p_data(self, start: int, end: int) -> None:
        """The presentation data values of one P-DATA-TF (PS3.8 9.3.5)."""
        if start == end:
            raise Violation("a P-DATA-TF without a value")
        while start < end:
            if end - start < 6:
                raise Violation("a presentation data value cut short")
            length, context_id, control = struct.unpack_from(">IBB", self._buffer, start)
            stop = start + 4 + length
            if length < 2 or stop > end:
                raise Violation("a presentation data value of a wrong length")
            self._fragment_came(context_id, control, start + 6, stop)
            start = stop

    def _fragment_came(self, context_id: int, control: int, start: int, end: int) -> None:
        if self._context_id == 0:
            if context_id not in self._contexts:
                raise Violation("a presentation context that was not accepted")
            self._context_id = context_id
        elif context_id != self._context_id:
            raise Violation("two messages at once")
        with self._view[start:end] as data:
            if control & _COMMAND:
                self._command_part(data, last=bool(control & _LAST))
            else:
                self._data_part(data, last=bool(control & _LAST))

    def _command_part(self, data: memoryview, *, last: bool) -> None:
        if self._command is not None:
            raise Violation("a command inside a message")
        if len(self._command_bytes) + len(data) > receiving.COMMAND_LIMIT:
            raise Violation("a command set longer than any in the standard")
        self._command_bytes += data
        if not last:
            return
        try:
            command = decode(bytes(self._command_bytes))
        except Malformed as error:
            raise Violation(str(error)) from error
        self._command_bytes.clear()
        self._command = command
        if command.field == C_STORE_RQ:
            self._data_set = self._incoming(lambda: self._header(command))
        if command.data_set_type == DATA_SET_ABSENT:
            self._message_came()

    def _data_part(self, data: memoryview, *, last: bool) -> None:
        if self._command is None:
            raise Violation("a data set without a command")
        if self._data_set is not None and len(data):
            self._data_set.write(data)
        if last:
            self._message_came()

    def _message_came(self) -> None:
        command, context_id = self._command, self._context_id
        assert command is not None
        try:
            self._serve(command, context_id)
        finally:
            self._forget()

    def _forget(self) -> None:
        data_set, self._data_set = self._data_set, None
        if data_set is not None:
            data_set.close()
        self._command, self._context_id = None, 0

    # --- services ---

    def _serve(self, command: Command, context_id: int) -> None:
        if command.field == C_STORE_RQ:
            status = self._keep(command, context_id)
            self._forget()  # its bytes are given back before the sender goes on
            self._answer(command, context_id, status)
        elif command.field == C_ECHO_RQ:
            self._answer(command, context_id, Status(SUCCESS))
        elif command.field == C_CANCEL_RQ or command.field & _RESPONSE:
            # Nothing of ours is open that it could be about.
            log.debug("message.ignored", code=f"{command.field:04X}")
        else:
            self._answer(command, context_id, _UNRECOGNIZED_OPERATION)

    def _keep(self, command: Command, context_id: int) -> Status:
        data_set = self._data_set
        assert data_set is not None
        if command.data_set_type == DATA_SET_ABSENT:
            return Status(CANNOT_UNDERSTAND, "a C-STORE-RQ without a data set")
        return self._store(
            StoreRequest(
                source=data_set.source,
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                abstract_syntax=self._contexts[context_id].abstract_syntax,
            )
        )

    def _header(self, command: Command) -> bytes:
        return part10_header(
            command.sop_class_uid,
            command.sop_instance_uid,
            self._contexts[self._context_id].transfer_syntax,
        )

    def _answer(self, command: Command, context_id: int, status: Status) -> None:
        encoded = encode_response(command, status)
        pdus = bytearray()
        for start in range(0, len(encoded), self._fragment):
            part = encoded[start : start + self._fragment]
            control = _COMMAND | (_LAST if start + len(part) == len(encoded) else 0)
            size = len(part)
            pdus += struct.pack(">BxIIBB", P_DATA_TF, size + 6, size + 2, context_id, control) + part
        self._send(bytes(pdus))
