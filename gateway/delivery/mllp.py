"""ORU^R01 over MLLP (HL7 v2.5 chapter 7.3.1; MLLP release 1), in UTF-8.

Segments: MSH, PID (the hospital's name and ID), OBR (the accession number in OBR-3 and OBR-18), one OBX for each text,
one with the Study Instance UID, one with the document (ED, base64). The receiver's acknowledgement decides:

================================  ====================================
MSA-1 = AA or CA                  accepted
AE, AR, CE, CR                    `Rejected`
none, or for another message      `Unreachable`
================================  ====================================
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import hl7

from gateway.delivery.registry import Delivery, Rejected, Unreachable, channel
from gateway.reports.sr import TITLES
from storage.targets import parse_endpoint

TIMEOUT = 30.0
"""Seconds for the connection, and for the acknowledgement."""

START, END = b"\x0b", b"\x1c\x0d"
MAX_ACKNOWLEDGEMENT = 65_536

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\n": "\\.br\\", "\r": ""}

_TEXTS = (
    ("findings", "59776-5^Procedure findings^LN"),
    ("conclusion", "19005-8^Impression^LN"),
    ("recommendations", "18783-1^Study recommendation^LN"),
)


@channel("mllp")
def send(delivery: Delivery) -> Mapping[str, Any]:
    """Send the message and wait for its acknowledgement."""
    target = parse_endpoint(delivery.target)
    control = control_id(delivery)
    data = START + message(delivery).encode() + END
    try:
        with socket.create_connection((target.host, target.port), timeout=TIMEOUT) as connection:
            connection.settimeout(TIMEOUT)
            connection.sendall(data)
            answer = _read(connection)
    except OSError as error:
        raise Unreachable(f"no acknowledgement: {type(error).__name__}") from error
    code = _acknowledgement(answer, control)
    if code not in ("AA", "CA"):
        raise Rejected(f"the receiver answered {code}; look into its log for message {control}")
    return {"oru": code}


def control_id(delivery: Delivery) -> str:
    """MSH-10: the same for the same opinion, so that a receiver knows a repetition."""
    return delivery.content.digest[:20].upper()


def message(delivery: Delivery) -> str:
    """The ORU^R01; segments end in CR."""
    content, who = delivery.content, delivery.who
    text = who.identity.text
    signed = _timestamp(content.signed_at)
    name = _person(text("PatientName"))
    accession = escape(who.accession_number)
    service = f"11488-4^{escape(TITLES[content.language])}^LN"
    segments = [
        _segment(
            "MSH", "^~\\&", "CONSILIUM", escape(content.centre_name), "", escape(content.site_code), signed, "",
            "ORU^R01^ORU_R01", control_id(delivery), "P", "2.5", "", "", "AL", "NE", "", "UNICODE UTF-8",
        ),
        _segment(
            "PID", "1", "", f"{escape(text('PatientID'))}^^^{escape(text('IssuerOfPatientID'))}".rstrip("^"),
            "", name, "", text("PatientBirthDate"), text("PatientSex") or who.kept.get("PatientSex", ""),
        ),
        _segment(
            "OBR", "1", "", accession, service, "", "", text("StudyDate"), *[""] * 8,
            _provider(text("ReferringPhysicianName")), "", accession, *[""] * 3, signed, "", "", "F",
            *[""] * 6, _interpreter(content.author_name),
        ),
    ]  # fmt: skip
    observations = [
        ("FT", code, escape(getattr(content, name).strip()))
        for name, code in _TEXTS
        if getattr(content, name).strip()
    ]
    observations.append(("ST", "110180^Study Instance UID^DCM", who.study_instance_uid))
    pdf = base64.b64encode(delivery.pdf()).decode()
    observations.append(("ED", service, f"^application^pdf^Base64^{pdf}"))
    for number, (kind, code, value) in enumerate(observations, 1):
        segments.append(
            _segment("OBX", str(number), kind, code, "", value, "", "", "", "", "", "F", "", "", signed)
        )
    return "\r".join(segments) + "\r"


def escape(text: str) -> str:
    """Text with HL7's delimiters escaped (HL7 v2.5 2.7)."""
    return "".join(_ESCAPES.get(c, c) for c in text if c >= " " or c in "\r\n")


def _segment(*fields: str) -> str:
    return "|".join(fields).rstrip("|")


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S") + "+0000"


def _person(name: str) -> str:
    """PN (family, given, middle, prefix, suffix) as XPN (family, given, second, suffix, prefix)."""
    group = next((g for g in name.split("=") if g.strip("^ ")), "")
    parts = [escape(part.strip()) for part in group.split("^")] + [""] * 5
    return "^".join([*parts[:3], parts[4], parts[3]]).rstrip("^")


def _provider(name: str) -> str:
    return f"^{_person(name)}" if name else ""


def _interpreter(name: str) -> str:
    # NDL: a name with subcomponents; the login stays inside.
    return "&" + "&".join(escape(part) for part in name.split())


def _read(connection: socket.socket) -> bytes:
    data = b""
    while END not in data:
        chunk = connection.recv(4096)
        if not chunk:
            raise Unreachable("the receiver closed the connection without an acknowledgement")
        data += chunk
        if len(data) > MAX_ACKNOWLEDGEMENT:
            raise Unreachable("the acknowledgement has no end")
    return data.partition(END)[0].removeprefix(START)


def _acknowledgement(answer: bytes, control: str) -> str:
    try:
        parsed = hl7.parse(answer.decode("utf-8", "replace").strip())
        segment = parsed.segment("MSA")
        code, refers_to = str(segment[1]), str(segment[2])
    except (hl7.HL7Exception, KeyError, IndexError, AttributeError) as error:
        raise Unreachable("the acknowledgement is not an HL7 message with MSA") from error
    if refers_to != control:
        raise Unreachable("the acknowledgement is for another message")
    return code if code in ("AA", "AE", "AR", "CA", "CE", "CR") else "no acknowledgement code"
