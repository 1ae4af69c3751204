"""Pseudonyms under one deployment key: UIDs, patients, accession numbers, days; the same on every node.

Everything is HMAC-SHA256 with a purpose in front, so no table has to be shared between processes. A pseudonym carries a
check under the same key: the engine knows its own work again and leaves it as it is, which makes de-identification
idempotent (an object that passes twice comes out equal).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from pydicom.uid import UID_dictionary

WELL_KNOWN: frozenset[str] = frozenset(UID_dictionary)  # PS3.6 annex A
UID_SYNTAX = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base32: no I L O U
_SHIFT_FROM, _SHIFT_SPAN = 60, 3600  # days back: two months to ten years
_CACHE = 65536


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


@dataclass(frozen=True, slots=True)
class Patient:
    """Pseudonyms of one patient of one site.

    Parameters
    ----------
    patient_id
        New Patient ID (0010,0020), 16 characters.
    name
        New Patient's Name (0010,0010), e.g. ``CONS-7Q2M8K``.
    shift
        Days added to every date; negative, or 0 when the source was already de-identified by this deployment.
    """

    patient_id: str
    name: str
    shift: int


class Pseudonyms:
    """Pseudonyms of one family (a deployment, or one profile of it that keeps to itself).

    Parameters
    ----------
    key
        Secret of the deployment, at least 16 bytes.
    family
        Empty for the deployment's common pseudonyms.
    """

    def __init__(self, key: bytes, family: str = "") -> None:
        if len(key) < 16:
            raise ValueError("the pseudonym key must have at least 16 bytes")
        self._key = hmac.digest(key, b"consilium/pseudonyms/1/" + family.encode(), "sha256")
        self._uids: dict[bytes, bytes] = {}

    def digest(self, purpose: str, *parts: str | bytes) -> bytes:
        """HMAC over length-prefixed parts, so no two lists of parts meet."""
        message = purpose.encode()
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            message += len(data).to_bytes(4, "big") + data
        return hmac.digest(self._key, message, "sha256")

    # --- UIDs (PS3.5 B.2: a UUID below 2.25) ---

    def _make_uid(self, body: int) -> str:
        check = int.from_bytes(self.digest("uid-check", body.to_bytes(12, "big"))[:4], "big") & 0x3FFFFFFF
        number = (
            body << 30 | check
        )  # 92 bits of body, 30 of check; six bits say "UUID of version 8" (RFC 9562)
        high, middle, low = number >> 74, number >> 62 & 0xFFF, number & (1 << 62) - 1
        return f"2.25.{high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low}"

    def is_own_uid(self, text: str) -> bool:
        """Whether this family made this UID."""
        if not text.startswith("2.25.") or not text[5:].isdigit() or len(text) > 44:
            return False
        value = int(text[5:])
        if value >> 128 or value >> 76 & 15 != 8 or value >> 62 & 3 != 2:
            return False
        number = (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
        return self._make_uid(number >> 30) == text

    def uid(self, value: bytes) -> bytes:
        """Pseudonym of one UID value; well-known UIDs and own pseudonyms stay. Anything else, even malformed, maps."""
        cached = self._uids.get(value)
        if cached is not None:
            return cached
        text = value.strip(b"\0 ").decode("latin-1")
        if not text or text in WELL_KNOWN or self.is_own_uid(text):
            new = text
        else:
            new = self._make_uid(int.from_bytes(self.digest("uid", text)[:12], "big") & (1 << 92) - 1)
        if len(self._uids) >= _CACHE:
            self._uids.clear()
        result = self._uids[value] = new.encode()
        return result

    def uids(self, value: bytes) -> bytes:
        """Every value of a UI element."""
        if b"\\" not in value:
            return self.uid(value)
        return b"\\".join(self.uid(one) for one in value.split(b"\\"))

    # --- patients ---

    def patient(self, site_code: str, kind: str, *parts: str) -> Patient:
        """Pseudonyms of the patient whom `parts` name at a site.

        Parameters
        ----------
        kind
            ``id`` (Patient ID, issuer), ``name`` (name, birth date) or ``study`` (nothing known but the study).
        """
        if kind == "id" and self._is_own_patient(site_code, parts[0]):
            return Patient(parts[0], self._name(parts[0]), 0)
        digest = self.digest("patient", site_code, kind, *parts)
        patient_id = self._patient_id(site_code, _base32(int.from_bytes(digest[:7], "big") >> 1, 11))
        shift = -(_SHIFT_FROM + int.from_bytes(digest[16:24], "big") % _SHIFT_SPAN)
        return Patient(patient_id, self._name(patient_id), shift)

    def _patient_id(self, site_code: str, body: str) -> str:
        check = self.digest("patient-check", site_code, body)
        return f"P{body}{_base32(int.from_bytes(check[:3], 'big') >> 4, 4)}"

    def _is_own_patient(self, site_code: str, text: str) -> bool:
        return len(text) == 16 and text[0] == "P" and self._patient_id(site_code, text[1:12]) == text

    def _name(self, patient_id: str) -> str:
        return "CONS-" + _base32(int.from_bytes(self.digest("patient-name", patient_id)[:4], "big") >> 2, 6)

    # --- other identifiers ---

    def identifier(self, purpose: str, site_code: str, value: str) -> str:
        """Pseudonym of an identifier (accession number, specimen …) of a site: 16 characters, own ones stay."""
        if (
            len(value) == 16
            and value[0] == "X"
            and self._identifier(purpose, site_code, value[1:12]) == value
        ):
            return value
        digest = self.digest(purpose, site_code, value)
        return self._identifier(purpose, site_code, _base32(int.from_bytes(digest[:7], "big") >> 1, 11))

    def _identifier(self, purpose: str, site_code: str, body: str) -> str:
        check = self.digest(purpose + "-check", site_code, body)
        return f"X{body}{_base32(int.from_bytes(check[:3], 'big') >> 4, 4)}"

    def source_digest(self, transfer_syntax_uid: str) -> hmac.HMAC:
        """An HMAC-SHA256 to feed the bytes of a data set to; equal content gives an equal digest."""
        return hmac.new(self.digest("source", transfer_syntax_uid), digestmod="sha256")
