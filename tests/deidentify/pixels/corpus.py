"""Pictures with text burned in, and where it is: ultrasound-like frames in every encoding pixels come in.

Everything is made from a seed. A text is counted only if a person could read it: its contrast to what is behind it is
measured, not assumed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import font_roboto
import imagecodecs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

TEXTS = (
    "IVANOV IVAN 12.03.1961",
    "Smith^John M 54Y",
    "Иванова Мария Петровна",
    "КРАСНОЯРСКАЯ КБ №1",
    "ID: 4471-09-2231",
    "Дата рожд. 05.11.1987",
    "PETROVA A.S. 034Y F",
    "Пациент: Ёлкина Ж. Щ.",
    "ST. MARY HOSPITAL",
    "2024-06-17 14:32:08",
    "ГАУЗ ОКБ Омск УЗИ",
    "Dr. Kuznetsov",
    "Acc# 7781234",
    "Сидоров П.",
)
FONTS = (font_roboto.Roboto, font_roboto.RobotoBold, font_roboto.RobotoMedium)

PHOTOMETRICS = (
    "MONOCHROME2",
    "MONOCHROME1",
    "MONOCHROME2 16",
    "RGB",
    "RGB planar",
    "YBR_FULL",
    "YBR_FULL_422",
    "PALETTE COLOR",
    "JPEG",
    "JPEG colour",
    "RLE",
    "JPEG lossless",
    "JPEG-LS",
    "JPEG 2000",
)


@dataclass
class Planted:
    """One text in one frame: where its ink is."""

    text: str
    size: int
    place: str
    left: int
    top: int
    ink: np.ndarray  # (height, width) of bool
    behind: np.ndarray  # grey before, the same shape
    frames: range = field(default_factory=lambda: range(1))


@dataclass
class Picture:
    """Frames as grey or colour, (frames, rows, columns, 3) of uint8, and what was written into them."""

    frames: np.ndarray
    planted: list[Planted]


def speckle(random: np.random.Generator, rows: int, columns: int, frames: int) -> np.ndarray:
    """A sector of tissue-like noise on black, moving slowly, (frames, rows, columns) of uint8."""
    y, x = np.mgrid[0:rows, 0:columns]
    middle, apex = columns / 2, -0.08 * rows
    angle = np.arctan2(x - middle, y - apex)
    distance = np.hypot(x - middle, y - apex)
    sector = (np.abs(angle) < 0.72) & (distance > 0.12 * rows) & (distance < 1.0 * rows)
    depth = np.exp(-distance / (1.1 * rows))
    structure = np.zeros((rows, columns))
    gain = random.uniform(40, 110)
    for _ in range(6):
        cy, cx, size = random.uniform(0.2, 0.9) * rows, random.uniform(0.25, 0.75) * columns, rows / 8
        strength = random.uniform(-0.5, 0.7)
        structure += strength * np.exp(
            -((y - cy) ** 2 + (x - cx) ** 2) / (2 * (size * random.uniform(0.5, 1.5)) ** 2)
        )
    made = np.empty((frames, rows, columns), np.uint8)
    for frame in range(frames):
        noise = random.rayleigh(1.0, (rows, columns))
        smooth = (noise + np.roll(noise, 1, 1) + np.roll(noise, 2, 1) + np.roll(noise, 1, 0)) / 4
        tissue = gain * depth * (1 + structure) * smooth
        made[frame] = np.where(sector, np.clip(tissue, 0, 190), 0).astype(np.uint8)
    return made


def write_text(
    frames: np.ndarray,
    random: np.random.Generator,
    text: str,
    size: int,
    place: str,
    taken: list[tuple[int, int, int, int]],
    when: range,
) -> Planted | None:
    """Write a text where nothing was written yet; None when there is no room, or nobody could read it."""
    _, rows, columns, _ = frames.shape
    font = ImageFont.truetype(FONTS[int(random.integers(len(FONTS)))], size)
    left, top, right, bottom = font.getbbox(text)
    width, height = int(right - left) + 2, int(bottom - top) + 2
    if width > columns - 4:
        return None
    for _ in range(60):
        at_x = int(random.integers(2, columns - width - 1))
        if place == "margin":
            edge = int(0.13 * rows)
            at_y = (
                int(random.integers(2, max(3, edge - height))) if random.random() < 0.6 else rows - height - 3
            )
        else:
            at_y = int(random.integers(int(0.3 * rows), int(0.8 * rows)))
            at_x = int(
                random.integers(int(0.2 * columns), max(int(0.2 * columns) + 1, int(0.8 * columns) - width))
            )
        around = (at_x - 6, at_y - 6, at_x + width + 6, at_y + height + 6)
        if at_x + width < columns and not any(
            around[0] < b[2] and b[0] < around[2] and around[1] < b[3] and b[1] < around[3] for b in taken
        ):
            break
    else:
        return None
    glyphs = Image.new("L", (width, height))
    ImageDraw.Draw(glyphs).text((1 - left, 1 - top), text, fill=255, font=font)
    alpha = np.asarray(glyphs, np.float32) / 255
    ink = alpha > 0.6
    area = (slice(at_y, at_y + height), slice(at_x, at_x + width))
    behind = frames[when.start][area].mean(axis=2)
    colours = [(255, 255, 255), (255, 255, 0), (0, 255, 0), (230, 230, 230), (255, 200, 120)]
    if place == "margin":
        colours += [(170, 170, 170), (120, 200, 255), (110, 110, 110), (0, 0, 0)]
    random.shuffle(colours)
    contrasts = [abs(float(_luminance(c) - behind.mean())) for c in colours]
    fit = [c for c, contrast in zip(colours, contrasts, strict=True) if contrast >= 3 * behind.std() + 60]
    if not ink.any() or not fit:
        return None
    colour = np.array(fit[0], np.float32)
    taken.append((at_x, at_y, at_x + width, at_y + height))
    for frame in when:
        under = frames[frame][area].astype(np.float32)
        frames[frame][area] = (under * (1 - alpha[..., None]) + colour * alpha[..., None]).astype(np.uint8)
    return Planted(text, size, place, at_x, at_y, ink, behind, when)


def _luminance(colour: tuple[int, int, int]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def picture(seed: int, *, rows: int = 360, columns: int = 480, frames: int = 1, texts: int = 4) -> Picture:
    """A picture with texts of all sizes on the margin and over speckle; of several frames, some come and go."""
    random = np.random.default_rng(seed)
    grey = speckle(random, rows, columns, frames)
    made = np.repeat(grey[..., None], 3, axis=3)
    if random.random() < 0.25:  # a bar of the device's, on which it writes
        made[:, : int(0.13 * rows)] = ((40, 60, 92), (170, 170, 170), (225, 225, 225))[
            int(random.integers(3))
        ]
    planted: list[Planted] = []
    taken: list[tuple[int, int, int, int]] = []
    for number in range(texts):
        size = int(random.integers(8, 25))
        place = "margin" if number % 2 == 0 else "speckle"
        when = range(frames)
        if frames > 3 and number % 4 >= 2:
            first = int(random.integers(0, frames - 1))
            when = range(first, min(frames, first + int(random.integers(1, 5))))
        text = TEXTS[int(random.integers(len(TEXTS)))]
        one = write_text(made, random, text, size, place, taken, when)
        if one is not None:
            planted.append(one)
    return Picture(made, planted)


# --- encodings ---


def _grey(frames: np.ndarray) -> np.ndarray:
    return (frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)


def _ybr(frames: np.ndarray) -> np.ndarray:
    rgb = frames.astype(np.float32)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.168736 * r - 0.331264 * g + 0.5 * b + 128
    cr = 0.5 * r - 0.418688 * g - 0.081312 * b + 128
    return np.stack((y, cb, cr), axis=-1).round().clip(0, 255).astype(np.uint8)


def _jpeg(frame: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=90)
    return target.getvalue()


def dataset(made: Picture, kind: str, modality: str = "US") -> Dataset:
    """The picture as an instance, `kind` one of `PHOTOMETRICS`."""
    frames = made.frames
    count, rows, columns, _ = frames.shape
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1" if count > 1 else "1.2.840.10008.5.1.4.1.1.6.1"
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID = "Ivanov^Ivan", "1"
    ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyDate = ds.StudyTime = ds.StudyID = ""
    ds.Modality, ds.InstanceNumber, ds.SeriesNumber = modality, 1, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Rows, ds.Columns = rows, columns
    if count > 1:
        ds.NumberOfFrames = count
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    grey = _grey(frames)
    if kind in ("RGB", "RGB planar", "YBR_FULL", "YBR_FULL_422", "JPEG colour", "RLE", "JPEG 2000"):
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    if kind == "MONOCHROME2":
        ds.PixelData = grey.tobytes()
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif kind == "MONOCHROME1":
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.PixelData = (255 - grey).tobytes()
    elif kind == "MONOCHROME2 16":
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelData = (grey.astype("<u2") * 16).tobytes()
    elif kind == "RGB":
        ds.PixelData = frames.tobytes()
    elif kind == "RGB planar":
        ds.PlanarConfiguration = 1
        ds.PixelData = frames.transpose(0, 3, 1, 2).tobytes()
    elif kind == "YBR_FULL":
        ds.PhotometricInterpretation = "YBR_FULL"
        ds.PixelData = _ybr(frames).tobytes()
    elif kind == "YBR_FULL_422":
        ds.PhotometricInterpretation = "YBR_FULL_422"
        ybr = _ybr(frames)
        pairs = np.stack(
            (ybr[:, :, 0::2, 0], ybr[:, :, 1::2, 0], ybr[:, :, 0::2, 1], ybr[:, :, 0::2, 2]), axis=-1
        )
        ds.PixelData = pairs.tobytes()
    elif kind == "PALETTE COLOR":
        _as_palette(ds, frames)
    else:
        _encapsulated(ds, kind, frames, grey)
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    return ds


def _as_palette(ds: Dataset, frames: np.ndarray) -> None:
    """216 colours in no order at all, so that an index says nothing about brightness."""
    order = np.random.default_rng(7).permutation(216)
    index = (frames // 43).astype(np.int64) @ np.array([36, 6, 1])
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ds.PixelData = order[index].astype(np.uint8).tobytes()
    levels = np.arange(6) * 51
    for name, divisor in (("Red", 36), ("Green", 6), ("Blue", 1)):
        table = np.zeros(256, np.uint16)
        table[order] = levels[np.arange(216) // divisor % 6] * 257
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())


def _encapsulated(ds: Dataset, kind: str, frames: np.ndarray, grey: np.ndarray) -> None:
    if kind == "JPEG":
        ds.file_meta.TransferSyntaxUID, streams = JPEGBaseline8Bit, [_jpeg(frame) for frame in grey]
    elif kind == "JPEG colour":
        ds.PhotometricInterpretation = "YBR_FULL_422"
        ds.file_meta.TransferSyntaxUID, streams = JPEGBaseline8Bit, [_jpeg(frame) for frame in frames]
    elif kind == "RLE":
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.PixelData = frames.tobytes()
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        return
    elif kind == "JPEG lossless":
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        streams = [bytes(imagecodecs.jpeg8_encode(f, lossless=True, predictor=1)) for f in grey]
    elif kind == "JPEG-LS":
        ds.file_meta.TransferSyntaxUID = JPEGLSLossless
        streams = [bytes(imagecodecs.jpegls_encode(frame)) for frame in grey]
    elif kind == "JPEG 2000":
        ds.PhotometricInterpretation = "YBR_RCT"
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        streams = [
            bytes(imagecodecs.jpeg2k_encode(frame, reversible=True, codecformat="J2K", mct=True))
            for frame in frames
        ]
    else:
        raise ValueError(kind)
    if ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", ["10"]
        ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.PixelData = encapsulate(streams)


def save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def regions(ds: Dataset, *boxes: tuple[int, int, int, int]) -> None:
    """Give an instance a Sequence of Ultrasound Regions of (x0, y0, x1, y1), the last pixel included."""
    items = []
    for x0, y0, x1, y1 in boxes:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
        item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
        items.append(item)
    ds.SequenceOfUltrasoundRegions = Items(items)


# --- score ---


def shown(ds: Dataset) -> np.ndarray:
    """What is on the screen, as pydicom decodes it: (frames, rows, columns) of grey 0 to 255."""
    from pydicom.pixels import apply_color_lut, pixel_array

    values = pixel_array(ds)
    frames = int(ds.get("NumberOfFrames", 1))
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, ds) >> 8
    values = values.reshape(frames, ds.Rows, ds.Columns, -1).astype(np.float32)
    values = values[..., 0] if values.shape[3] == 1 else values @ np.array([0.299, 0.587, 0.114], np.float32)
    if ds.BitsStored > 8:
        values /= 1 << (ds.BitsStored - 8)
    return 255 - values if ds.PhotometricInterpretation == "MONOCHROME1" else values


def left_over(planted: Planted, before: np.ndarray, after: np.ndarray, strip: int = 8) -> float:
    """How much of a text can still be seen in a frame, 0 to 1: by its contrast in strips of `strip` columns."""
    height, width = planted.ink.shape
    area = (slice(planted.top, planted.top + height), slice(planted.left, planted.left + width))
    was, now = before[area], after[area]
    strips = seen = 0
    for start in range(0, width, strip):
        ink = planted.ink[:, start : start + strip]
        if ink.sum() < 4 or (~ink).sum() < 4:
            continue
        contrast = [
            abs(float(v[:, start : start + strip][ink].mean() - v[:, start : start + strip][~ink].mean()))
            for v in (was, now)
        ]
        strips += 1
        seen += contrast[1] > 0.3 * contrast[0]
    return seen / strips if strips else 0.0


def corpus(frames: int, seed: int = 1) -> Iterator[tuple[Picture, str]]:
    """At least `frames` frames: single ones in every encoding, and loops."""
    made = number = 0
    while made < frames:
        kind = PHOTOMETRICS[number % len(PHOTOMETRICS)]
        length = 12 if number % 7 == 6 else 1
        one = picture(seed * 1000 + number, frames=length, texts=4)
        yield one, kind
        made += length
        number += 1
