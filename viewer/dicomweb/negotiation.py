"""Which representation a caller gets: Accept and its DICOM parameters (RFC 9110 12.5.1, PS3.18 8.7).

A caller names media types, for DICOM with ``transfer-syntax=UID`` or ``*``, for multipart messages with the ``type`` of
the parts. A resource names what it can be represented as: `Offer`. `choose` brings the two together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from werkzeug.http import parse_list_header, parse_options_header

from viewer.dicomweb.problems import NotAcceptable

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
OCTETS = "application/octet-stream"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"

# Clients write type=application/dicom without the quotes a "/" needs (RFC 2387 3.4); they are put in.
_UNQUOTED = re.compile(r'(;\s*type\s*=\s*)([^\s";,]+/[^\s";,]+)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Offer:
    """One representation of a resource.

    Parameters
    ----------
    media_type
        Of the representation itself, or of the parts if `multipart`.
    transfer_syntax
        UID, or empty where the media type has none.
    multipart
        Whether it comes as multipart/related.
    """

    media_type: str
    transfer_syntax: str = ""
    multipart: bool = False

    def __str__(self) -> str:
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        if self.multipart:
            return f'multipart/related; type="{self.media_type}"{syntax}'
        return f"{self.media_type}{syntax}"

    @property
    def content_type(self) -> str:
        """Content-Type of the representation, or of one part."""
        if not self.transfer_syntax:
            return self.media_type
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


@dataclass(frozen=True, slots=True)
class Acceptable:
    """One member of an Accept header.

    Parameters
    ----------
    media_type
        May be ``*/*`` or ``image/*``.
    transfer_syntax
        UID, ``*`` for any, or empty: then the default of the media type is meant (PS3.18 8.7.3.3).
    multipart
        True for multipart/related, False for a single part, None where either will do.
    """

    media_type: str
    transfer_syntax: str
    multipart: bool | None
    quality: float

    def matches(self, offer: Offer) -> bool:
        if self.multipart is not None and self.multipart != offer.multipart:
            return False
        if not _within(offer.media_type, self.media_type):
            return False
        if self.transfer_syntax in ("*", offer.transfer_syntax):
            return True
        if self.transfer_syntax:
            return False
        # These two default to Explicit VR Little Endian; a type like image/jp2 says enough by itself.
        return self.media_type not in (OCTETS, DICOM) or offer.transfer_syntax in ("", EXPLICIT_LITTLE)

    @property
    def specificity(self) -> int:
        return self.media_type.count("*")


def _within(media_type: str, pattern: str) -> bool:
    if pattern in ("*/*", media_type):
        return True
    return pattern.endswith("/*") and media_type.startswith(pattern[:-1])


def parse(header: str) -> list[Acceptable]:
    """Members of an Accept header, best first; members that cannot be read are left out."""
    found = []
    for item in parse_list_header(_UNQUOTED.sub(r'\1"\2"', header)):
        name, options = parse_options_header(item)
        name = name.strip().lower()
        try:
            quality = float(options.get("q", 1))
        except ValueError:
            quality = 0.0
        multipart: bool | None = False
        if name == "multipart/related":
            name, multipart = options.get("type", "*/*").strip().lower(), True
        elif name in ("*/*", "*"):
            name, multipart = "*/*", None
        if "/" in name and 0 <= quality <= 1:
            found.append(Acceptable(name, options.get("transfer-syntax", "").strip(), multipart, quality))
    return sorted(found, key=lambda member: (-member.quality, member.specificity))


def choose(header: str, offers: Sequence[Offer]) -> Offer:
    """The offer a caller likes best; among equals the one offered first.

    Parameters
    ----------
    header
        Value of Accept, or of the `accept` query parameter (PS3.18 8.3.3.1); empty means anything.
    offers
        In the server's order of preference.

    Raises
    ------
    NotAcceptable
        406, naming what is available.
    """
    members = parse(header or "*/*")
    refused = [member for member in members if member.quality == 0 and not member.specificity]
    for member in members:
        for offer in offers:
            if member.quality > 0 and member.matches(offer) and not any(no.matches(offer) for no in refused):
                return offer
    raise NotAcceptable(header, map(str, offers))
