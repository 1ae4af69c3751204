"""The two families of errors every room raises.

*Permanent*: the same request will fail again; a person or the sender has to change something.
*Transient*: the same request may succeed later; a resend or a retry is the cure.

Each protocol maps these to its statuses in one table (`gateway.status` for DIMSE, `viewer.errors` for HTTP).
"""


class ConsiliumError(Exception):
    """Base of every error this product raises on purpose; its message holds no identifier of a patient."""


class PermanentError(ConsiliumError):
    """Repeating the same request cannot succeed."""


class TransientError(ConsiliumError):
    """Repeating the same request later may succeed."""


class ConfigurationError(PermanentError):
    """Settings that cannot be used; the message lists every problem found, each with its key."""


class NotFound(PermanentError):
    """What was asked for does not exist, or the caller may not know that it does."""


class Forbidden(PermanentError):
    """The caller may not do this."""


class Conflict(PermanentError):
    """The request contradicts the present state (an illegal change of state, a stale revision)."""


class Invalid(PermanentError):
    """The request is malformed; the message says where and what would be right."""


class StorageFull(TransientError):
    """The disk reserve is reached or the device is full."""


class StorageUnavailable(TransientError):
    """The database, the object store or the disk does not answer."""
