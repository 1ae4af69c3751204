"""What a DICOMweb request can end in besides the errors of `config.errors`: statuses of PS3.18 8.5 as exceptions.

All of them are answered by `viewer.errors` in the JSON shape of the other interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable

from werkzeug import exceptions


class NotAcceptable(exceptions.NotAcceptable):
    """406: the resource has no representation the caller accepts (PS3.18 8.7.5)."""

    def __init__(self, wanted: str, available: Iterable[str]) -> None:
        super().__init__("none of the accepted media types is available for this resource; see detail")
        self.detail = {"accept": wanted[:400], "available": sorted(set(available))[:50]}


class NoRendering(exceptions.NotAcceptable):
    """406: there is nothing to look at: no image, or one that no decoder reads."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this resource cannot be shown: {reason}")


class UnsupportedMediaType(exceptions.UnsupportedMediaType):
    """415: a body of a kind that is not taken in (PS3.18 10.5)."""
