"""Where an opinion is returned to, as an administrator writes it: one form for each channel."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from config.errors import Invalid
from config.kinds import ae_title

CHANNELS = ("dicom", "mllp", "fhir")

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address, and the AE title that answers there when it speaks DICOM."""

    host: str
    port: int
    ae_title: str = ""


def parse_endpoint(text: str) -> Endpoint:
    """``host:port``; an IPv6 address stands in brackets."""
    found = _ENDPOINT.fullmatch(text.strip())
    if not found or not 0 < int(found[2]) < 65536:
        raise Invalid(f'"{text}" is not host:port, for example pacs.hospital.example:104')
    return Endpoint(found[1].strip("[]"), int(found[2]))


def parse_dicom(text: str) -> Endpoint:
    """``AETITLE@host:port`` of the Storage SCP that receives."""
    title, at, address = text.rpartition("@")
    if not at:
        raise Invalid(f'"{text}" is not AETITLE@host:port, for example PACS@pacs.hospital.example:104')
    endpoint = parse_endpoint(address)
    return Endpoint(endpoint.host, endpoint.port, parse_ae_title(title))


def parse_url(text: str) -> str:
    """An http or https address, the base of a FHIR server."""
    parts = urllib.parse.urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment:
        raise Invalid(f'"{text}" is not a URL, for example https://fhir.hospital.example/r4')
    return text.strip().rstrip("/")


def parse_ae_title(text: str) -> str:
    """An AE title without its insignificant spaces (PS3.5 6.2)."""
    try:
        return ae_title(text)
    except ValueError as problem:
        raise Invalid(f"an AE title {problem}") from None


def check_target(channel: str, target: str) -> str:
    """The target as it is kept, or `Invalid` with the form it should have."""
    if channel == "dicom":
        parse_dicom(target)
        return target.strip()
    if channel == "mllp":
        parse_endpoint(target)
        return target.strip()
    if channel == "fhir":
        return parse_url(target)
    raise Invalid(f'there is no channel "{channel}"; there are {", ".join(CHANNELS)}')
