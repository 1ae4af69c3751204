"""Why an instance's pixels are left to a person."""

from __future__ import annotations

from config.errors import PermanentError

DOUBTS: dict[str, str] = {
    "undecodable-pixels": "the frames cannot be decoded, so nobody can say what they show",
    "uncleanable-pixels": "text was found, and frames of this transfer syntax cannot be written again here",
    "burned-in-text": "there is more text than can be hidden without hiding the image",
    "burned-in-annotation": "the sender declares burned in annotation, and none was found",
}


class Doubtful(PermanentError):
    """The pixels cannot be proven clean; a person decides (PS3.15 E.3.1).

    Parameters
    ----------
    reason
        One of `DOUBTS`.
    detail
        Rules and numbers, never what a text says.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in DOUBTS:
            raise ValueError(f"unknown reason code {reason!r}")
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail or DOUBTS[reason]}")

    def __reduce__(self) -> tuple[type[Doubtful], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
