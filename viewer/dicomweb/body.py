"""A response body made of segments that are read when they are sent, whole or in part.

Because every segment knows its length beforehand, any representation can be resumed with a Range request (RFC 9110 14),
a multipart message as well as a single frame: on a bad line a study need not start over, and a progressive viewer gets
the first kilobytes of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import quote_etag

CHUNK = 1 << 20
"""Bytes read and sent at once."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a body.

    Parameters
    ----------
    length
        In bytes.
    read
        ``read(start, stop)`` gives the bytes of that span.
    """

    length: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of(cls, data: bytes) -> Segment:
        return cls(len(data), lambda start, stop: data[start:stop])


@dataclass(frozen=True, slots=True)
class Generated:
    """Part of a body whose length shows only while it is made; a body with one cannot be sent in ranges."""

    make: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Body:
    """A sequence of segments."""

    segments: tuple[Segment | Generated, ...]

    @property
    def length(self) -> int | None:
        """Bytes of all segments, or None if that is not known beforehand."""
        total = 0
        for segment in self.segments:
            if isinstance(segment, Generated):
                return None
            total += segment.length
        return total

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a span, by default all, in pieces of at most `CHUNK`."""
        at = 0
        for segment in self.segments:
            if isinstance(segment, Generated):
                yield from segment.make()
                continue
            first = max(start - at, 0)
            last = segment.length if stop is None else min(stop - at, segment.length)
            while first < last:
                until = min(first + CHUNK, last)
                yield segment.read(first, until)
                first = until
            at += segment.length
            if stop is not None and at >= stop:
                return


def digest(parts: Iterable[str]) -> str:
    """One entity tag out of several."""
    return sha256("\0".join(parts).encode()).hexdigest()[:40]


def send(body: Body, content_type: str, etag: str, *, immutable: bool = False) -> Response:
    """Answer this request with a body, honouring If-None-Match, Range and If-Range.

    Parameters
    ----------
    etag
        Names this representation: resource, media type and transfer syntax.
    immutable
        Whether the representation will never change, so that a browser need not ask again for an hour.

    Raises
    ------
    RequestedRangeNotSatisfiable
        416, with the length in Content-Range.
    """
    length = body.length
    if request.if_none_match.contains(etag):
        response = Response(status=304)
    else:
        response = _span(body, length, etag) or Response(body.chunks(), 200, direct_passthrough=True)
        if response.status_code == 200 and length is not None:
            response.content_length = length
        response.content_type = content_type
        response.headers["Accept-Ranges"] = "none" if length is None else "bytes"
    response.headers["ETag"] = quote_etag(etag)
    return cached(response, immutable=immutable)


def _span(body: Body, length: int | None, etag: str) -> Response | None:
    """The answer to a request for one range, or None if the whole body is to be sent."""
    asked = request.range
    if (
        length is None
        or request.method != "GET"
        or asked is None
        or asked.units != "bytes"
        or len(asked.ranges) != 1
    ):
        return None
    condition = request.if_range
    if "If-Range" in request.headers and condition.etag != etag:
        return None
    span = asked.range_for_length(length)
    if span is None:
        raise RequestedRangeNotSatisfiable(length)
    start, stop = span
    response = Response(body.chunks(start, stop), 206, direct_passthrough=True)
    response.content_length = stop - start
    response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{length}"
    return response


def cached(response: Response, *, immutable: bool = False) -> Response:
    """Allow the caller's own browser, and nobody between, to keep a response."""
    response.headers["Cache-Control"] = (
        "private, max-age=3600, immutable" if immutable else "private, no-cache"
    )
    response.vary.update(("Accept", "Authorization"))
    return response
