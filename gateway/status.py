"""What a Storage SCU is told: one table from what happened to the status of PS3.4 B.2.3 and PS3.7 Annex C.

Warnings (0xBxxx) count as success with every sender known, failures stop many of them in the middle of a study. So a
failure is only answered when a resend cures it, or when the sender's object is broken; the bytes of a broken object are
kept in quarantine all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.errors import Forbidden, TransientError
from storage.records import Disposition, Outcome

SUCCESS = 0x0000
NO_SUCH_SOP_CLASS = 0x0122  # PS3.7 C.5.12: the class was not negotiated on this association
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.8: the UID breaks the rules of UIDs
NOT_AUTHORIZED = 0x0124  # PS3.7 C.5.23
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.21
OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3: try again later
DATA_SET_DOES_NOT_MATCH = 0xA900  # PS3.4 B.2.3: the data set is of another class than the command said
CANNOT_UNDERSTAND = 0xC000  # PS3.4 B.2.3
COERCED = 0xB000  # PS3.4 B.2.3: kept, not quite as sent

COMMENT_LENGTH = 64  # (0000,0902) Error Comment is LO


@dataclass(frozen=True, slots=True)
class Status:
    """A C-STORE status and its Error Comment, which never holds a value of the data set."""

    code: int
    comment: str = ""

    @property
    def failed(self) -> bool:
        return self.code != SUCCESS and self.code >> 12 != 0xB


BY_DISPOSITION: dict[Disposition, Status] = {
    Disposition.STORED: Status(SUCCESS),
    Disposition.DUPLICATE: Status(SUCCESS),
    Disposition.CONFLICT: Status(COERCED, "kept for review: other content under the same UID"),
    Disposition.QUARANTINED: Status(COERCED, "kept for review"),
}

BY_REASON: dict[str, int] = {
    "unparseable": CANNOT_UNDERSTAND,
    "truncated": CANNOT_UNDERSTAND,
    "class-mismatch": DATA_SET_DOES_NOT_MATCH,
    "malformed-uid": INVALID_SOP_INSTANCE,
    "internal": PROCESSING_FAILURE,  # the bytes are held, but a failure of ours is never called anything else
}

BY_ERROR: tuple[tuple[type[BaseException], Status], ...] = (
    (TransientError, Status(OUT_OF_RESOURCES, "cannot be kept now, send again later")),
    (MemoryError, Status(OUT_OF_RESOURCES, "cannot be kept now, send again later")),
    (OSError, Status(OUT_OF_RESOURCES, "cannot be kept now, send again later")),
    (Forbidden, Status(NOT_AUTHORIZED, "not permitted")),
    (Exception, Status(PROCESSING_FAILURE, "not kept: the gateway failed, its log tells where")),
)


def status_of(outcome: Outcome) -> Status:
    """The answer to an instance that was dealt with, and is durable wherever it was put."""
    status = BY_DISPOSITION[outcome.disposition]
    if outcome.disposition is Disposition.QUARANTINED:
        code = BY_REASON.get(outcome.reason, status.code)
        return Status(code, f"{status.comment}: {outcome.reason}"[:COMMENT_LENGTH])
    if outcome.disposition is Disposition.STORED and outcome.coerced:
        return Status(COERCED)
    return status


def status_of_error(error: BaseException) -> Status:
    """The answer when keeping an instance failed: never success."""
    return next((status for kind, status in BY_ERROR if isinstance(error, kind)), BY_ERROR[-1][1])
