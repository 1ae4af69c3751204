"""From stored values to pictures: the greyscale pipeline, palettes, geometry, and every real file there is."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import ExplicitVRBigEndian

from config.errors import Invalid
from tests.images import bundled_files, data_store_files, sample
from viewer.rendering import grey, lut
from viewer.rendering.decode import decode
from viewer.rendering.description import CannotDecode, PixelDescription, describe
from viewer.rendering.geometry import Viewport, aspect, fit
from viewer.rendering.grey import Window
from viewer.rendering.render import Options, render

# Why a file's first frame cannot be decoded, by name.
UNREADABLE = {
    "badVR.dcm": "an attribute of the Image Pixel module holds no number",
    "MR_truncated.dcm": "shorter than its Rows × Columns",
    "JPEG2000-embedded-sequence-delimiter.dcm": "a made-up codestream, damaged on purpose",
}

SLOW = 200_000
"""Bytes of a file beyond which decoding it takes a good part of a second."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the files as they are


def nothing(_: str) -> bytes:
    raise AssertionError("no bulk data expected")


def parsed(ds: pydicom.FileDataset) -> tuple[bytes, PixelDescription, dict[str, Any]]:
    """First frame, description and metadata of a data set, as the archive would give them."""
    metadata: dict[str, Any] = {}
    for element in ds:
        if element.tag not in (0x7FE00010, 0x00200062):
            metadata[f"{element.tag:08X}"] = element.to_json_dict(None, 1 << 30)
    metadata["7FE00010"] = {"vr": ds["PixelData"].VR, "BulkDataURI": "7FE00010"}
    described = describe(metadata, ds.file_meta.TransferSyntaxUID)
    if not described.native:
        return next(generate_frames(ds.PixelData, number_of_frames=described.frames)), described, metadata
    samples = 2 if described.subsampled else described.samples
    size = (described.rows * described.columns * samples * described.bits_allocated + 7) // 8
    return ds.PixelData[:size], described, metadata


def readable() -> list[Any]:
    """Every real file with an image; big endian ones are made plain by the archive before anyone sees them."""
    found = []
    for path in [*bundled_files(), *data_store_files()]:
        if path.suffix != ".dcm" or path.name in UNREADABLE:
            continue
        with warnings.catch_warnings(action="ignore"):
            ds = pydicom.dcmread(path, force=True, specific_tags=["Rows", "PixelData"])
        syntax = ds.file_meta.get("TransferSyntaxUID")
        if "PixelData" in ds and "Rows" in ds and syntax and syntax != ExplicitVRBigEndian:
            slow = path.stat().st_size > SLOW
            found.append(pytest.param(path, id=path.name, marks=[pytest.mark.integration] if slow else []))
    return found


@pytest.mark.parametrize("path", readable())
def test_every_real_file_decodes_as_pydicom_does_and_becomes_a_picture(path: Path) -> None:
    ds = pydicom.dcmread(path)
    if path.name in ("JPEG-lossy.dcm", "JPGExtended.dcm"):
        expected = None  # 12-bit JPEG, which pydicom has no decoder for
    else:
        expected, _ = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, index=0)
    frame, described, metadata = parsed(ds)
    decoded = decode(described, frame)
    if expected is not None:
        np.testing.assert_array_equal(decoded.pixels, expected)
    picture = Image.open(io.BytesIO(render(frame, described, metadata, 1, nothing, Options("image/png"))))
    assert picture.mode == (
        "L" if described.samples == 1 and described.photometric != "PALETTE COLOR" else "RGB"
    )
    ratio = aspect(metadata, 1)
    assert picture.width == round(described.columns / min(ratio, 1))
    assert picture.height == round(described.rows * max(ratio, 1))
    low, high = picture.convert("L").getextrema()
    assert low < high or decoded.pixels.min() == decoded.pixels.max()


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_say_so(name: str) -> None:
    with pytest.raises((CannotDecode, ValueError)):
        frame, described, _ = parsed(sample(name))
        decode(described, frame)


def described_as(
    pixels: np.ndarray, photometric: str = "MONOCHROME2", stored: int | None = None
) -> PixelDescription:
    return PixelDescription(
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples=1,
        photometric=photometric,
        bits_allocated=pixels.dtype.itemsize * 8,
        bits_stored=stored or pixels.dtype.itemsize * 8,
        signed=pixels.dtype.kind == "i",
        planar=0,
        frames=1,
    )


def ds_value(*values: object) -> dict[str, Any]:
    return {"vr": "DS", "Value": list(values)}


RAMP = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_the_standard(function: str) -> None:
    """PS3.3 C.11.2.1.2, computed by pydicom in floating point."""
    ds = pydicom.Dataset()
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 8, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 40, 400, function
    expected = apply_voi_lut(RAMP.astype(np.float64), ds)
    metadata = {
        "00281050": ds_value(40),
        "00281051": ds_value(400),
        "00281056": {"vr": "CS", "Value": [function]},
    }
    shown = grey.display(RAMP, described_as(RAMP), metadata, 1, nothing)
    assert np.abs(shown - expected).max() <= 0.51
    again = grey.display(RAMP, described_as(RAMP), {}, 1, nothing, Window(40, 400, function))
    np.testing.assert_array_equal(shown, again)


def test_rescale_comes_before_the_window() -> None:
    metadata = {"00281052": ds_value(-1000), "00281053": ds_value(2)}
    shown = grey.display(RAMP, described_as(RAMP), metadata, 1, nothing, Window(0, 200, "LINEAR_EXACT"))
    flat, values = shown.ravel(), RAMP.ravel() * 2 - 1000
    assert set(flat[values < -100]) == {0}
    assert set(flat[values > 100]) == {255}
    assert abs(int(flat[values == 0][0]) - 128) <= 1


def test_monochrome1_and_inverse_shape_turn_the_picture_once() -> None:
    plain = grey.display(RAMP, described_as(RAMP), {}, 1, nothing)
    turned = grey.display(RAMP, described_as(RAMP, "MONOCHROME1"), {}, 1, nothing)
    inverse = {"20500020": {"vr": "CS", "Value": ["INVERSE"]}}
    np.testing.assert_array_equal(plain.astype(int) + turned, 255)
    np.testing.assert_array_equal(turned, grey.display(RAMP, described_as(RAMP), inverse, 1, nothing))
    both = grey.display(RAMP, described_as(RAMP, "MONOCHROME1"), inverse, 1, nothing)
    np.testing.assert_array_equal(turned, both)


def test_padding_does_not_take_part_in_an_automatic_window() -> None:
    pixels = np.full((4, 4), -2000, np.int16)
    pixels[1:3, 1:3] = [[0, 100], [200, 300]]
    shown = grey.display(
        pixels, described_as(pixels), {"00280120": {"vr": "SS", "Value": [-2000]}}, 1, nothing
    )
    assert shown[1, 1] == 0 and shown[2, 2] == 255 and 80 < shown[1, 2] < 90


def test_floats_with_holes() -> None:
    pixels = np.array([[0.0, np.nan], [np.inf, 2.0]], np.float32)
    described = described_as(pixels)
    shown = grey.display(pixels, described, {}, 1, nothing)
    assert shown[0, 0] == 0 and shown[1, 1] == 255


def test_wide_integers_keep_their_values() -> None:
    pixels = np.array([[0, 1 << 31], [(1 << 32) - 1, 1 << 30]], np.uint32)
    shown = grey.display(pixels, described_as(pixels), {}, 1, nothing)
    assert shown.tolist() == [[0, 128], [255, 64]]


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_lookup_tables_of_real_files(name: str) -> None:
    ds = sample(name)
    frame, described, metadata = parsed(ds)
    shown = grey.display(decode(described, frame).pixels, described, metadata, 1, nothing)
    expected = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(float)
    expected = (expected - expected.min()) / np.ptp(expected)
    correlation = np.corrcoef(shown.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.999


def test_functional_groups_of_the_frame_count() -> None:
    def window(center: float) -> dict[str, Any]:
        item = {"00281050": ds_value(center), "00281051": ds_value(10)}
        return {"00289132": {"vr": "SQ", "Value": [item]}}

    metadata = {
        "52009230": {"vr": "SQ", "Value": [window(0), window(1000)]},
        "52009229": {"vr": "SQ", "Value": [window(5000)]},
    }
    first = grey.display(RAMP, described_as(RAMP), metadata, 1, nothing)
    second = grey.display(RAMP, described_as(RAMP), metadata, 2, nothing)
    third = grey.display(RAMP, described_as(RAMP), metadata, 3, nothing)
    assert [int((shown > 127).sum()) for shown in (first, second, third)] == [3071 + 1, 2071 + 1, 0]


@pytest.mark.parametrize("name", ["OBXXXX1A.dcm", "examples_palette.dcm", "gdcm-US-ALOKA-16.dcm"])
def test_palettes_as_pydicom_applies_them(name: str) -> None:
    ds = sample(name)
    frame, described, metadata = parsed(ds)
    png = render(frame, described, metadata, 1, nothing, Options("image/png"))
    expected = apply_color_lut(ds.pixel_array, ds)
    if expected.dtype != np.uint8:
        expected = expected >> 8 if expected.max() > 255 else expected
    shown = np.asarray(Image.open(io.BytesIO(png)).resize((described.columns, described.rows)))
    if aspect(metadata, 1) == 1:
        np.testing.assert_array_equal(shown, expected)


def test_a_palette_kept_as_bulk_data_is_fetched() -> None:
    metadata: dict[str, Any] = {}
    stored = {}
    for number, colour in enumerate(("Red", "Green", "Blue"), 1):
        metadata[f"0028110{number}"] = {"vr": "US", "Value": [4, 0, 8]}
        metadata[f"0028120{number}"] = {"vr": "OW", "BulkDataURI": colour}
        stored[colour] = bytes([0, 10 * number, 20 * number, 30 * number])
    red, _, blue = lut.palette(metadata, stored.__getitem__, signed=False)
    assert red.apply(np.array([-5, 1, 99])).tolist() == [0, 10, 30]
    assert blue.apply(np.array([3])).tolist() == [90]


def test_segmented_palettes() -> None:
    """Discrete, linear and indirect segments, of 16 and of 8 bits (PS3.3 C.7.9.2)."""
    assert lut.expand(np.array([0, 2, 5, 6, 1, 2, 10], np.uint16), 4).tolist() == [5, 6, 8, 10]
    repeated = np.array([0, 2, 5, 6, 2, 1, 0, 0], np.uint16)
    assert lut.expand(repeated, 4).tolist() == [5, 6, 5, 6]
    narrow = np.array([0, 2, 5, 6, 2, 1, 0, 0, 0, 0], np.uint8)
    assert lut.expand(narrow, 4).tolist() == [5, 6, 5, 6]


@pytest.mark.parametrize(
    "segments",
    [[], [1, 5, 10], [3, 1, 1], [0, 2, 5, 6], [2, 1, 0, 0], [2, 9, 9, 9, 2, 9, 9, 9]],
)
def test_segmented_palettes_that_lie(segments: list[int]) -> None:
    with pytest.raises(CannotDecode):
        lut.expand(np.array(segments, np.uint16), 5)


def test_entries_of_eight_bits_in_words_or_packed() -> None:
    item = {
        "00283002": {"vr": "US", "Value": [3, 65534, 8]},
        "00283006": {"vr": "OW", "InlineBinary": base64.b64encode(bytes([1, 0, 2, 0, 3, 0])).decode()},
    }
    found = lut.table(item, nothing, signed=True)
    assert (found.first, found.entries.tolist()) == (-2, [1, 2, 3])
    item["00283006"]["InlineBinary"] = base64.b64encode(bytes([1, 2, 3])).decode()
    assert lut.table(item, nothing, signed=False).entries.tolist() == [1, 2, 3]


@pytest.mark.parametrize("descriptor", [[], [3, 0], [3, 0, 17], [70000, 0, 8], ["a", 0, 8], [400, 0, 16]])
def test_descriptors_that_lie(descriptor: list[object]) -> None:
    item = {"00283002": {"vr": "US", "Value": descriptor}, "00283006": {"vr": "OW", "InlineBinary": "AAAA"}}
    with pytest.raises(CannotDecode):
        lut.table(item, nothing, signed=False)


def test_pixels_become_square() -> None:
    image = Image.new("L", (100, 50))
    assert aspect({"00280030": ds_value(2.0, 1.0)}, 1) == 2.0
    assert fit(image, 2.0, None).size == (100, 100)
    assert fit(image, 0.5, None).size == (200, 50)
    assert aspect({"00280034": {"vr": "IS", "Value": [1, 2]}}, 1) == 0.5
    assert aspect({"00280030": ds_value(0, 1)}, 1) == aspect({"00280030": ds_value("x", 1)}, 1) == 1.0


def test_viewport_scales_crops_and_flips() -> None:
    image = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
    assert fit(image, 1.0, Viewport.parse("10,10")).size == (10, 5)
    assert fit(image, 1.0, Viewport.parse("40,100")).size == (40, 20)
    region = fit(image, 1.0, Viewport.parse("5,2,10,4,5,2"))
    assert np.asarray(region).tolist() == [[90, 91, 92, 93, 94], [110, 111, 112, 113, 114]]
    flipped = fit(image, 1.0, Viewport.parse("5,2,10,4,-5,-2"))
    assert np.asarray(flipped).tolist() == [[114, 113, 112, 111, 110], [94, 93, 92, 91, 90]]
    assert fit(image, 1.0, Viewport.parse("20,10,,,,")).size == (20, 10)


@pytest.mark.parametrize(
    "text", ["", "10", "0,10", "10,99999", "1,2,3", "a,b", "10,10,nan,0,1,1", "10,10,0,0,0,5", "1,1,-5,0,1,1"]
)
def test_viewports_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        Viewport.parse(text)


def test_a_region_outside_of_the_image() -> None:
    with pytest.raises(Invalid):
        fit(Image.new("L", (10, 10)), 1.0, Viewport.parse("10,10,50,50,5,5"))


def test_quality_and_format() -> None:
    frame, described, metadata = parsed(sample("examples_rgb_color.dcm"))
    rough = render(frame, described, metadata, 1, nothing, Options("image/jpeg", quality=10))
    fine = render(frame, described, metadata, 1, nothing, Options("image/jpeg", quality=95))
    assert rough[:2] == fine[:2] == b"\xff\xd8"
    assert len(rough) < len(fine) / 2
