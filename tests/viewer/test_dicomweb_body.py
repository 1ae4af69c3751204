"""Bodies in ranges, and multipart messages as the standard library's parser reads them."""

from __future__ import annotations

import email
from collections.abc import Iterator

import pytest
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from viewer.dicomweb.body import CHUNK, Body, Generated, Segment, send
from viewer.dicomweb.multipart import Part, boundary_for, content_type, multipart


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 300), st.integers(0, 300))
def test_any_span_of_a_body_is_that_span_of_its_bytes(pieces: list[bytes], start: int, stop: int) -> None:
    body = Body(tuple(Segment.of(piece) for piece in pieces))
    whole = b"".join(pieces)
    assert body.length == len(whole)
    assert b"".join(body.chunks()) == whole
    assert b"".join(body.chunks(start, max(start, stop))) == whole[start : max(start, stop)]


def test_long_segments_are_read_in_pieces_and_only_where_wanted() -> None:
    read: list[tuple[int, int]] = []

    def reader(start: int, stop: int) -> bytes:
        read.append((start, stop))
        return b"x" * (stop - start)

    body = Body((Segment.of(b"head"), Segment(3 * CHUNK, reader), Segment(10**12, reader)))
    assert len(b"".join(body.chunks(4 + CHUNK, 4 + 2 * CHUNK + 7))) == CHUNK + 7
    assert read == [(CHUNK, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 7)]


def test_a_generated_part_hides_the_length() -> None:
    body = Body((Segment.of(b"a"), Generated(lambda: iter([b"b", b"c"]))))
    assert body.length is None
    assert b"".join(body.chunks()) == b"abc"


DATA = bytes(range(256)) * 4


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)

    @app.get("/data")
    def data() -> Response:
        return send(Body((Segment.of(DATA[:100]), Segment.of(DATA[100:]))), "application/octet-stream", "tag")

    @app.get("/endless")
    def endless() -> Response:
        def make() -> Iterator[bytes]:
            yield DATA

        return send(Body((Generated(make),)), "application/octet-stream", "tag", immutable=True)

    return app


def ask(app: Flask, path: str = "/data", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().get(path, headers=named)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=90-109", 90, 110), ("bytes=1000-", 1000, 1024), ("bytes=-24", 1000, 1024)],
)
def test_ranges(app: Flask, asked: str, start: int, stop: int) -> None:
    answer = ask(app, Range=asked)
    assert answer.status_code == 206
    assert answer.data == DATA[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.content_length == stop - start


def test_a_range_beyond_the_end_is_416_with_the_length(app: Flask) -> None:
    answer = ask(app, Range="bytes=2000-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=9-1", "nonsense"])
def test_what_is_no_single_byte_range_gets_everything(app: Flask, asked: str) -> None:
    answer = ask(app, Range=asked)
    assert (answer.status_code, answer.data) == (200, DATA)
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_if_range_of_another_version_gets_everything(app: Flask) -> None:
    assert ask(app, Range="bytes=0-9", If_Range='"tag"').status_code == 206
    assert ask(app, Range="bytes=0-9", If_Range='"old"').status_code == 200


def test_not_modified(app: Flask) -> None:
    answer = ask(app)
    assert answer.headers["ETag"] == '"tag"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = ask(app, If_None_Match=answer.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == '"tag"'


def test_unknown_length_takes_no_ranges(app: Flask) -> None:
    answer = ask(app, "/endless", Range="bytes=0-9")
    assert (answer.status_code, answer.data) == (200, DATA)
    assert answer.headers["Accept-Ranges"] == "none"
    assert "immutable" in answer.headers["Cache-Control"]


def test_head_reads_nothing(app: Flask) -> None:
    answer = app.test_client().head("/data")
    assert answer.content_length == len(DATA)
    assert answer.data == b""


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5))
def test_multipart_reads_back(payloads: list[bytes]) -> None:
    boundary = boundary_for("0123456789" * 4)
    parts: list[Part | Generated] = [
        Part("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", (Segment.of(p),), f"/x/{n}")
        for n, p in enumerate(payloads)
    ]
    body = multipart(parts, boundary)
    head = f"Content-Type: {content_type(boundary, 'application/octet-stream')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + b"".join(body.chunks()))
    read = message.get_payload()
    assert isinstance(read, list)
    assert len(read) == len(payloads)
    for number, (part, payload) in enumerate(zip(read, payloads, strict=True)):
        assert part["Content-Location"] == f"/x/{number}"
        assert part["Content-Length"] == str(len(payload))
        assert part.get_param("transfer-syntax") == "1.2.840.10008.1.2.1"
        if not payload.startswith((b"\n", b"\r")) and all(b < 128 and b not in b"\r\n" for b in payload):
            assert part.get_payload(decode=True) == payload
    assert sum(1 for _ in read) == len(payloads)


def test_ranges_of_a_multipart_message_fit_together() -> None:
    def message() -> Body:
        return multipart([Part("image/jphc", (Segment.of(DATA),))], boundary_for("tag" * 20))

    whole = b"".join(message().chunks())
    assert b"".join(message().chunks(0, 500)) + b"".join(message().chunks(500, len(whole))) == whole
    assert DATA in whole
