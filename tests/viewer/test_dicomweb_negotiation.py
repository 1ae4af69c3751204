"""Accept headers as clients really write them, and the representation each of them gets."""

from __future__ import annotations

import pytest

from viewer.dicomweb.negotiation import DICOM, EXPLICIT_LITTLE, OCTETS, Offer, choose, parse
from viewer.dicomweb.problems import NotAcceptable

HTJ2K = "1.2.840.10008.1.2.4.202"

FRAME_OFFERS = [
    Offer("image/jphc", HTJ2K, True),
    Offer(OCTETS, HTJ2K, True),
    Offer(OCTETS, EXPLICIT_LITTLE, True),
    Offer("image/jphc", HTJ2K),
    Offer(OCTETS, HTJ2K),
    Offer(OCTETS, EXPLICIT_LITTLE),
]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # Cornerstone3D and OHIF: the type unquoted
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", FRAME_OFFERS[1]),
        # dicomweb-client
        (
            'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1',
            FRAME_OFFERS[2],
        ),
        ('multipart/related; type="application/octet-stream"', FRAME_OFFERS[2]),
        ('multipart/related; type="image/jphc"', FRAME_OFFERS[0]),
        (f'multipart/related; type="image/jphc"; transfer-syntax={HTJ2K}', FRAME_OFFERS[0]),
        ('multipart/related;type="image/*"', FRAME_OFFERS[0]),
        ("multipart/related", FRAME_OFFERS[0]),
        ("image/jphc", FRAME_OFFERS[3]),
        ("application/octet-stream", FRAME_OFFERS[5]),
        ("application/octet-stream; transfer-syntax=*", FRAME_OFFERS[4]),
        ("*/*", FRAME_OFFERS[0]),
        ("", FRAME_OFFERS[0]),
        ("*", FRAME_OFFERS[0]),
        # q decides before order; a specific member before a wildcard; q=0 forbids
        ("image/jphc;q=0.4, application/octet-stream;q=0.6", FRAME_OFFERS[5]),
        ("*/*, image/jphc", FRAME_OFFERS[3]),
        ('*/*, multipart/related; type="image/jphc";q=0', FRAME_OFFERS[1]),
        ("text/html, application/xhtml+xml, application/octet-stream;q=0.1", FRAME_OFFERS[5]),
        ("IMAGE/JPHC", FRAME_OFFERS[3]),
    ],
)
def test_chosen_representation(accept: str, expected: Offer) -> None:
    assert choose(accept, FRAME_OFFERS) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/jp2",
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50",
        'multipart/related; type="application/dicom"',
        "*/*;q=0",
        "image/jphc;q=nonsense",
        "nonsense",
        ";;;,,,",
    ],
)
def test_nothing_acceptable_is_406_and_names_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable) as raised:
        choose(accept, FRAME_OFFERS)
    assert raised.value.code == 406
    assert str(FRAME_OFFERS[0]) in raised.value.detail["available"]


def test_application_dicom_without_transfer_syntax_means_explicit_little_endian() -> None:
    offers = [Offer(DICOM, HTJ2K, True), Offer(DICOM, EXPLICIT_LITTLE, True)]
    assert choose('multipart/related; type="application/dicom"', offers) == offers[1]
    assert choose('multipart/related; type="application/dicom"; transfer-syntax=*', offers) == offers[0]
    preferred = (
        f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT_LITTLE};q=0.5,'
        f'multipart/related; type="application/dicom"; transfer-syntax={HTJ2K}'
    )
    assert choose(preferred, offers) == offers[0]


def test_members_that_cannot_be_read_are_left_out() -> None:
    assert [member.media_type for member in parse("image/png;q=2, x, image/jpeg;q=0.3, */*;q=0.1")] == [
        "image/jpeg",
        "*/*",
    ]
