"""Command sets of DIMSE messages: little endian, implicit VR, group 0000 only (PS3.7 6.3.1, E.1).

Only what a Storage SCP needs to know of a command is decoded, by position and length; nothing of a command set is ever
given to a general decoder.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.status import Status

DATA_SET_ABSENT = 0x0101
"""Command Data Set Type of a message without a data set (PS3.7 E.1)."""

_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_SOP_INSTANCE_UID = 0x1000
_UID_BYTES = 64


class Malformed(ValueError):
    """No command set; the text holds nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is needed of a command set.

    Parameters
    ----------
    field
        Command Field (PS3.7 E.1): which service, request or response.
    message_id
        Message ID of a request; 0 where there is none.
    data_set_type
        `DATA_SET_ABSENT`, or anything else where a data set follows.
    sop_class_uid, sop_instance_uid
        Affected SOP Class and Instance UID without padding, or empty.
    """

    field: int
    message_id: int
    data_set_type: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def decode(encoded: bytes) -> Command:
    """Read a command set.

    Raises
    ------
    Malformed
        It ends inside an element, or lacks what every command has.
    """
    values: dict[int, bytes] = {}
    position, size = 0, len(encoded)
    while position < size:
        if size - position < 8:
            raise Malformed("a command set that ends inside an element")
        group, element, length = struct.unpack_from("<HHI", encoded, position)
        position += 8
        if length > size - position:
            raise Malformed("a command element longer than its command set")
        if group == 0:
            values[element] = encoded[position : position + length]
        position += length
    if _COMMAND_FIELD not in values or _DATA_SET_TYPE not in values:
        raise Malformed("a command set without Command Field or Command Data Set Type")
    return Command(
        field=_number(values[_COMMAND_FIELD]),
        message_id=_number(values.get(_MESSAGE_ID, b"\0\0")),
        data_set_type=_number(values[_DATA_SET_TYPE]),
        sop_class_uid=_uid(values.get(_SOP_CLASS_UID, b"")),
        sop_instance_uid=_uid(values.get(_SOP_INSTANCE_UID, b"")),
    )


def encode_response(command: Command, status: Status) -> bytes:
    """The response to a request, without a data set (PS3.7 9.3.1.2)."""
    elements = [
        (_COMMAND_FIELD, _us(command.field | 0x8000)),
        (_RESPONDED_TO, _us(command.message_id)),
        (_DATA_SET_TYPE, _us(DATA_SET_ABSENT)),
        (_STATUS, _us(status.code)),
    ]
    if command.sop_class_uid:
        elements.append((_SOP_CLASS_UID, _text(command.sop_class_uid[:_UID_BYTES], b"\0")))
    if command.sop_instance_uid:
        elements.append((_SOP_INSTANCE_UID, _text(command.sop_instance_uid[:_UID_BYTES], b"\0")))
    if status.comment:
        elements.append((_ERROR_COMMENT, _text(status.comment, b" ")))
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in sorted(elements))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _number(value: bytes) -> int:
    if len(value) < 2:
        raise Malformed("a number of the command set is too short")
    return int.from_bytes(value[:2], "little")


def _uid(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")


def _us(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _text(text: str, padding: bytes) -> bytes:
    encoded = text.encode("latin-1", "replace")
    return encoded + padding * (len(encoded) % 2)
