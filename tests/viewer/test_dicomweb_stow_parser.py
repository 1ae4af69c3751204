"""The body of a Store Transaction: any cut of the stream, any content, and what is refused."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import Invalid
from viewer.dicomweb import stow


class Drips(io.RawIOBase):
    """A stream that gives what it likes, as sockets do."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data = io.BytesIO(data)
        self._random = random.Random(seed)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._random.choice((1, 2, 3, 17, 4096))))


def message(payloads: list[bytes], boundary: str = "b-1") -> bytes:
    parts = [
        b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\nX: y\r\n\r\n" + payload + b"\r\n"
        for payload in payloads
    ]
    return b"".join(parts) + b"--" + boundary.encode() + b"--\r\n"


def read(data: bytes, directory: Path, boundary: str = "b-1", seed: int = 0) -> list[bytes]:
    return [part.path.read_bytes() for part in stow.parts(Drips(data, seed), boundary, directory)]  # type: ignore[arg-type]


tricky = st.lists(
    st.sampled_from([b"\r\n", b"--", b"b-1", b"-", b"\r", b"\n", b"x", b"\0" * 50]), max_size=30
).map(b"".join)


@settings(max_examples=80)
@given(
    st.lists(tricky.filter(lambda p: b"\r\n--b-1" not in b"\r\n" + p), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_parts_come_back_however_the_stream_is_cut(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("stow")
    assert read(message(payloads), directory, seed=seed) == payloads
    assert list(directory.iterdir()) == []


def test_a_file_is_private_and_gone_after_its_turn(tmp_path: Path) -> None:
    seen = []
    for part in stow.parts(io.BytesIO(message([b"a", b"b"])), "b-1", tmp_path):
        assert part.content_type == "application/dicom"
        assert part.path.stat().st_mode & 0o777 == 0o600
        assert [p.name for p in tmp_path.iterdir()] == [part.path.name]
        seen.append(part.path)
    assert len(seen) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_stops_leaves_no_file(tmp_path: Path) -> None:
    parts = stow.parts(io.BytesIO(message([b"a", b"b"])), "b-1", tmp_path)
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_preamble_padding_and_a_head_without_fields(tmp_path: Path) -> None:
    data = b"preamble\r\n--b-1 \t \r\n\r\npayload\r\n--b-1--trailer"
    assert read(data, tmp_path) == [b"payload"]
    assert read(b"--b-1--", tmp_path) == []


@pytest.mark.parametrize(
    ("data", "boundary"),
    [
        (b"", "b-1"),
        (b"no delimiter at all", "b-1"),
        (message([b"a"])[:-6], "b-1"),
        (b"--b-1\r\nContent-Type: application/dicom\r\n\r\nends here", "b-1"),
        (b"--b-1garbage\r\n\r\nx\r\n--b-1--", "b-1"),
        (b"--b-1\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\nx\r\n--b-1--", "b-1"),
        (message([b"a"]), ""),
        (message([b"a"]), "x" * 71),
        (message([b"a"]), "a\r\nb"),
        (message([b"a"]), "граница"),
    ],
)
def test_what_is_no_message_is_refused_and_leaves_nothing(data: bytes, boundary: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        read(data, tmp_path, boundary)
    assert list(tmp_path.iterdir()) == []


def test_a_single_instance_without_multipart(tmp_path: Path) -> None:
    payload = bytes(range(256)) * 5000
    assert [part.path.read_bytes() for part in stow.single(io.BytesIO(payload), tmp_path)] == [payload]
    assert list(tmp_path.iterdir()) == []
