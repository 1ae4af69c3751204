"""Reading files by position: what is broken is told, never guessed and never a crash."""

from __future__ import annotations

import io
import random
import struct
from contextlib import suppress
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit

from storage.describe import describe
from storage.part10 import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, MAX_DEPTH, Malformed, parse, walk
from storage.transcode import make_plain, to_htj2k
from tests.storage.making import part10, slice_of


def _rich(**changes: Any) -> Dataset:
    inner = Dataset()
    inner.CodeValue = "1"
    inner.PurposeOfReferenceCodeSequence = Sequence([Dataset()])
    dataset = slice_of(1, ConceptNameCodeSequence=Sequence([inner, inner]), **changes)
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091001, "UN", b"1234")
    dataset["ConceptNameCodeSequence"].is_undefined_length = True
    return dataset


FILES = [
    part10(_rich()),
    part10(_rich(), IMPLICIT_LE),
    part10(
        _rich(NumberOfFrames=2, PixelData=encapsulate([b"\xff\xd8\1\xff\xd9", b"\xff\xd82\xff\xd9"])),
        JPEGBaseline8Bit,
    ),
]


@pytest.mark.filterwarnings("ignore")  # pydicom warns of damaged character sets
def test_any_damage_is_told_and_nothing_else_happens() -> None:
    chance = random.Random(3)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1500):
        data = bytearray(chance.choice(FILES))
        for _ in range(chance.choice([1, 2, 8])):
            kind = chance.random()
            place = chance.randrange(132, len(data))
            if kind < 0.7:
                data[place] = chance.choice([0, 1, 0x7F, 0xFE, 0xFF, chance.randrange(256)])
            elif kind < 0.85:
                del data[max(place, 200) :]
            else:
                data[place:place] = data[place : place + chance.randrange(32)]
        try:
            description = describe(bytes(data))
            to_htj2k(bytes(data), description)
            outcomes["read"] += 1
        except Malformed as error:
            assert "Pseudonym" not in str(error)
            outcomes["refused"] += 1
        with suppress(Malformed):
            make_plain(bytes(data), io.BytesIO())
    assert min(outcomes.values()) > 200, outcomes


@pytest.mark.parametrize(
    "data", [b"", b"x" * 10, b"x" * 200, bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(30)]
)
def test_what_is_no_part_10_file_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        describe(data)


def test_deep_nesting_is_refused_before_it_hurts() -> None:
    plain = part10(slice_of(1, PixelData=None))
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = struct.pack("<HH2sxxI", 0xFFFA, 0xFFFA, b"SQ", 0xFFFFFFFF)
    deep = plain + (sequence + item) * 5000
    with pytest.raises(Malformed, match="nested deeper"):
        parse(deep)
    levels = MAX_DEPTH - 1
    close = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    parse(plain + (sequence + item) * levels + close * levels)


def test_a_length_beyond_the_file_costs_nothing() -> None:
    plain = part10(slice_of(1, PixelData=None))
    with pytest.raises(Malformed, match="longer than what holds it"):
        parse(plain + struct.pack("<HH2sxxI", 0x7FE0, 0x0011, b"OB", 0xFFFFFFF0))


def test_an_instance_without_its_uids_is_refused() -> None:
    with pytest.raises(Malformed, match="UID"):
        describe(part10(slice_of(1, SeriesInstanceUID=None)))


def test_big_endian_is_made_plain_first() -> None:
    data = part10(slice_of(1)).replace(b"1.2.840.10008.1.2.1\0", EXPLICIT_BE.encode() + b"\0")
    with pytest.raises(Malformed):
        describe(data)


def test_a_private_sequence_written_as_un_is_a_sequence() -> None:
    """PS3.5 6.2.2: UN of undefined length holds implicit VR items."""
    plain = part10(slice_of(1, PixelData=None))
    content = struct.pack("<HHI", 0x0009, 0x1001, 4) + b"abcd"
    un = struct.pack("<HH2sxxI", 0x7FE1, 0x1010, b"UN", 0xFFFFFFFF)
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
    parsed = parse(plain + un + item + b"\xfe\xff\xdd\xe0\0\0\0\0")
    found = dict(walk(parsed.elements))
    assert found["7FE11010"].vr == "SQ"
    assert found["7FE11010/0/00091001"].length == 4


def test_positions_point_at_the_values() -> None:
    for data in FILES[:2]:
        parsed = parse(data)
        name = parsed.find(0x00100010)
        assert name is not None
        assert data[name.offset : name.offset + name.length].rstrip() == "Pseudonym^Один".encode()
    assert parse(FILES[0]).transfer_syntax_uid == EXPLICIT_LE
