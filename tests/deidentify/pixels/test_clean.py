"""Hiding in stored values: every encoding, and nothing but the boxes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from gateway.deidentify.pixels.boxes import Box
from gateway.deidentify.pixels.detector import Detector
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.screen import redact, screen
from tests.deidentify.pixels import corpus
from tests.images import sample, sample_path

pytestmark = pytest.mark.slow

BOX = Box(41, 20, 120, 44)
LOSSY = ("JPEG", "JPEG colour")


def redacted(path: Path, *boxes: list[Box]) -> pydicom.Dataset:
    target = io.BytesIO()
    redact(path, target, boxes)
    target.seek(0)
    return pydicom.dcmread(target)


def saved(kind: str, tmp_path: Path, frames: int = 1) -> Path:
    made = corpus.picture(3, rows=96, columns=160, frames=frames, texts=0)
    made.frames[:, BOX.top : BOX.bottom, BOX.left : BOX.right] = (200, 90, 240)
    return corpus.save(corpus.dataset(made, kind), tmp_path / "one.dcm")


@pytest.mark.parametrize("kind", corpus.PHOTOMETRICS)
def test_a_box_is_black_and_the_rest_as_it_was(kind: str, tmp_path: Path) -> None:
    path = saved(kind, tmp_path)
    ds = pydicom.dcmread(path)
    clean = redacted(path, [BOX])
    before, after = corpus.shown(ds)[0], corpus.shown(clean)[0]
    inside = np.zeros(before.shape, bool)
    inside[BOX.top : BOX.bottom, BOX.left - BOX.left % 2 : BOX.right + BOX.right % 2] = True
    if kind in LOSSY:
        # what lies in the same blocks of 16 may change a little
        assert after[BOX.top : BOX.bottom, BOX.left : BOX.right].mean() < 8
        assert np.abs(after - before)[~blocks_of(inside)].mean() < 1
    else:
        assert after[BOX.top : BOX.bottom, BOX.left : BOX.right].max() <= 2
        assert np.array_equal(after[~inside], before[~inside])
    assert clean.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
    assert clean.PhotometricInterpretation == ds.PhotometricInterpretation
    kept = [
        e
        for e in clean
        if e.keyword not in ("PixelData", "BurnedInAnnotation", "DeidentificationMethodCodeSequence")
    ]
    assert kept == [e for e in ds if e.keyword != "PixelData"]


def blocks_of(mask: np.ndarray) -> np.ndarray:
    """Blocks of 16 × 16 that a mask touches."""
    rows, columns = mask.shape
    blocks = mask.reshape(rows // 16, 16, columns // 16, 16).any(axis=(1, 3))
    return np.repeat(np.repeat(blocks, 16, axis=0), 16, axis=1)


@pytest.mark.parametrize("kind", ["JPEG colour", "RLE", "JPEG-LS", "JPEG 2000", "RGB", "MONOCHROME2 16"])
def test_frames_without_a_box_keep_their_bytes(kind: str, tmp_path: Path) -> None:
    path = saved(kind, tmp_path, frames=4)
    ds = pydicom.dcmread(path)
    clean = redacted(path, [], [BOX], [], [BOX])
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        before = list(generate_frames(ds.PixelData, number_of_frames=4))
        after = list(generate_frames(clean.PixelData, number_of_frames=4))
    else:
        size = len(ds.PixelData) // 4
        before, after = ([d.PixelData[n * size : (n + 1) * size] for n in range(4)] for d in (ds, clean))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, False]
    assert pixel_array(clean).shape == pixel_array(ds).shape


def test_bitmaps_of_one_bit(tmp_path: Path) -> None:
    """Frames of 63 bits do not begin at bytes; the neighbours' bits in a shared byte stay."""
    ds = corpus.dataset(corpus.picture(3, rows=9, columns=7, frames=3, texts=0), "MONOCHROME2")
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    bits = np.ones((3, 9, 7), np.uint8)
    bits[:, 8, 6] = 0
    ds.PixelData = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    path = corpus.save(ds, tmp_path / "one.dcm")
    clean = redacted(path, [], [Box(1, 2, 4, 5)], [])
    expected = bits.copy()
    expected[1, 2:5, 1:4] = 0
    got = np.unpackbits(np.frombuffer(clean.PixelData, np.uint8), bitorder="little")[: bits.size]
    assert np.array_equal(got.reshape(bits.shape), expected)


def test_a_clean_slice_stays_as_it_is(detector: Detector) -> None:
    path = sample_path("CT_small.dcm")
    target = io.BytesIO()
    report = screen(path, target, detector)
    assert (report.frames_changed, report.boxes, report.hidden) == (0, 0, 0.0)
    target.seek(0)
    assert pydicom.dcmread(target).PixelData == sample("CT_small.dcm").PixelData


def test_screening_twice_changes_nothing_more(detector: Detector, tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    screen(sample_path("US1_UNCR.dcm"), first, detector)
    path = tmp_path / "one.dcm"
    path.write_bytes(first.getvalue())
    report = screen(path, second, detector)
    assert report.hidden < 0.001
    clean = pydicom.dcmread(io.BytesIO(second.getvalue()))
    assert [i.CodeValue for i in clean.DeidentificationMethodCodeSequence].count("113101") == 1


def test_a_lossy_frame_written_again_says_so(tmp_path: Path) -> None:
    path = saved("JPEG", tmp_path)
    ds = pydicom.dcmread(path)
    ds.LossyImageCompression = "00"
    corpus.save(ds, path)
    assert redacted(path, [BOX]).LossyImageCompression == "01"
    assert redacted(path, []).LossyImageCompression == "00"


def test_offset_tables_are_right_again(tmp_path: Path) -> None:
    path = saved("JPEG 2000", tmp_path, frames=3)
    ds = pydicom.dcmread(path)
    ds.ExtendedOffsetTable = bytes(24)
    ds.ExtendedOffsetTableLengths = bytes(24)
    corpus.save(ds, path)
    clean = redacted(path, [BOX], [], [])
    assert "ExtendedOffsetTable" not in clean and "ExtendedOffsetTableLengths" not in clean
    frames = list(generate_frames(clean.PixelData, number_of_frames=3))
    assert len(frames) == 3 and all(frame[:4] == b"\xff\x4f\xff\x51" for frame in frames)


def test_boxes_of_odd_shape_are_clipped(tmp_path: Path) -> None:
    path = saved("RGB", tmp_path)
    clean = redacted(path, [Box(-50, -50, 10_000, 10), Box(500, 500, 600, 600)])
    shown = corpus.shown(clean)[0]
    assert not shown[:10].any() and shown[10:].any()


# --- what a person has to look at ---


def test_text_all_over_a_captured_screen_is_doubtful(detector: Detector, tmp_path: Path) -> None:
    made = corpus.picture(5, rows=480, columns=640, texts=0)
    made.frames[:] = 0
    random = np.random.default_rng(1)
    page = Image.fromarray(made.frames[0])
    font = ImageFont.truetype(corpus.FONTS[0], 18)
    for line in range(20):
        text = "  ".join(corpus.TEXTS[int(n)] for n in random.integers(len(corpus.TEXTS), size=3))
        ImageDraw.Draw(page).text((4, 4 + line * 23), text, fill=(255, 255, 255), font=font)
    made.frames[0] = np.asarray(page)
    ds = corpus.dataset(made, "RGB", modality="OT")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    path = corpus.save(ds, tmp_path / "one.dcm")
    with pytest.raises(Doubtful) as doubt:
        screen(path, io.BytesIO(), detector)
    assert doubt.value.reason == "burned-in-text"


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107"]
)
def test_videos_are_doubtful(detector: Detector, tmp_path: Path, syntax: str) -> None:
    path = saved("JPEG", tmp_path)
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    corpus.save(ds, path)
    with pytest.raises(Doubtful, match="video"):
        screen(path, io.BytesIO(), detector)
