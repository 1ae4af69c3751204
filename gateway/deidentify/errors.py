"""Why an instance was not passed on: one exception, a closed list of reason codes, never a value."""

from __future__ import annotations

from config.errors import PermanentError

REASONS: dict[str, str] = {
    "unparseable": "the bytes are not a DICOM data set that can be read without guessing",
    "truncated": "a length points beyond the end of the source",
    "unsupported-transfer-syntax": "the transfer syntax is not known",
    "inflation": "the deflated data set grows beyond the limit",
    "too-deep": "sequences are nested deeper than the limit",
    "too-many-elements": "there are more data elements than the limit",
    "too-large": "a part that must be held in memory is larger than the limit",
    "missing-uid": "SOP Class, SOP Instance, Study or Series Instance UID is absent",
    "malformed-uid": "a UID the instance is known by is not a UID (PS3.5 section 9)",
    "malformed-image": "rows, columns, samples or bits cannot describe an image",
    "duplicate-element": "the same data element occurs twice in one data set",
    "unknown-attribute": "a public attribute that no known edition of PS3.6 lists",
    "misplaced-attribute": "a data element that has no place in a data set, or follows the pixel data",
    "character-set": "a Specific Character Set that is not known, or text that it cannot decode",
    "encapsulated-document": "an encapsulated document cannot be proven clean",
    "burned-in-annotation": "the sender declares burned in annotation",
    "residual-identity": "identity was found in a place that cannot be cleaned",
    "unknown-profile": "the de-identification profile is not configured",
    "internal": "de-identification failed unexpectedly; nothing was passed on",
}


class Refused(PermanentError):
    """The instance cannot be proven clean; the caller quarantines it (PS3.15 E.1, fail closed).

    Parameters
    ----------
    reason
        One of `REASONS`.
    detail
        Tags and rules, never a value of an element.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason code {reason!r}")
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail or REASONS[reason]}")

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
