"""DiagnosticReport to a FHIR R4 server, as a conditional create: a repetition makes no second one.

==============================  ==========================================================
200, 201, 202, 204              accepted
408, 425, 429, 5xx, no answer   `Unreachable`
3xx, other 4xx                  `Rejected`; redirections are not followed
==============================  ==========================================================

The target is what an administrator wrote, and is called as it stands: only http and https, no redirection, no address
that is link-local, multicast or unspecified (cloud metadata services are such), and an answer is read no further than
its first 64 KiB.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from config.errors import Invalid
from gateway.delivery.registry import Delivery, Rejected, Unreachable, channel
from gateway.reports.sr import TITLES
from gateway.reports.wording import person
from storage.targets import parse_url

TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
MAX_ANSWER = 65_536

_SYSTEM = "urn:ietf:rfc:3986"
_GENDER = {"M": "male", "F": "female", "O": "other"}


@channel("fhir")
def send(delivery: Delivery) -> Mapping[str, Any]:
    """POST the report."""
    base = parse_url(delivery.target)
    check_address(base)
    url = base if base.endswith("/DiagnosticReport") else f"{base}/DiagnosticReport"
    headers = {
        "Content-Type": "application/fhir+json; charset=utf-8",
        "Accept": "application/fhir+json",
        "If-None-Exist": f"identifier={_SYSTEM}|{identifier(delivery)}",
    }
    body = json.dumps(resource(delivery), ensure_ascii=False).encode()
    try:
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT) as pool:
            answer = pool.request(
                "POST", url, body=body, headers=headers, redirect=False, preload_content=False
            )
            answer.read(MAX_ANSWER)
            answer.close()
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(f"no answer: {type(error).__name__}") from error
    status = answer.status
    if status in (200, 201, 202, 204):
        return {"DiagnosticReport": status}
    if status in (408, 425, 429) or status >= 500:
        raise Unreachable(f"the server answered {status}")
    if 300 <= status < 400:
        raise Rejected(f"the server answered {status}: redirections are not followed; correct the target")
    raise Rejected(f"the server answered {status}; look into its log")


def check_address(url: str) -> None:
    """Raise `Invalid` for an address no FHIR server has, `Unreachable` for a name that cannot be resolved."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable("the server's name cannot be resolved") from error
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
            raise Invalid(
                "the FHIR target is a link-local, multicast or unspecified address; correct the site"
            )


def identifier(delivery: Delivery) -> str:
    """The report's own identifier: the same for the same opinion."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"consilium/{delivery.content.digest}").urn


def resource(delivery: Delivery) -> dict[str, Any]:
    """The DiagnosticReport."""
    content, who = delivery.content, delivery.who
    text = who.identity.text
    patient: dict[str, Any] = {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [{"value": text("PatientID")}],
        "name": [_name(text("PatientName"))],
    }
    gender = _GENDER.get(text("PatientSex") or who.kept.get("PatientSex", ""))
    if gender:
        patient["gender"] = gender
    if born := _date(text("PatientBirthDate")):
        patient["birthDate"] = born
    title = TITLES[content.language]
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "language": content.language,
        "contained": [patient],
        "identifier": [{"system": _SYSTEM, "value": identifier(delivery)}],
        "status": "final",
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "11488-4", "display": "Consult note"}],
            "text": title,
        },
        "subject": {"reference": "#patient", "display": person(text("PatientName"))},
        "issued": content.signed_at.isoformat(timespec="seconds"),
        "performer": [{"display": content.centre_name or "Consilium"}],
        "resultsInterpreter": [{"display": content.author_name}],
        "imagingStudy": [
            {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{who.study_instance_uid}"}}
        ],
        "conclusion": content.conclusion,
        "presentedForm": [
            {
                "contentType": "application/pdf",
                "language": content.language,
                "title": title,
                "creation": content.signed_at.isoformat(timespec="seconds"),
                "data": base64.b64encode(delivery.pdf()).decode(),
            }
        ],
    }
    if who.accession_number:
        kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
        report["basedOn"] = [{"identifier": {"type": kind, "value": who.accession_number}}]
    if studied := _date(text("StudyDate")):
        report["effectiveDateTime"] = studied
    return report


def _name(name: str) -> dict[str, Any]:
    group = next((g for g in name.split("=") if g.strip("^ ")), "")
    parts = [part.strip() for part in group.split("^")] + [""] * 3
    return {"text": person(name), "family": parts[0], "given": [p for p in parts[1:3] if p]}


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else ""
