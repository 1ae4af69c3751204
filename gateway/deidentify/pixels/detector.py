"""Finding text in one picture: PP-OCRv4's detector, and its recogniser as a filter.

The two networks come inside the wheel of ``rapidocr-onnxruntime`` and run in onnxruntime. That package itself is not
imported: it needs OpenCV with a display's libraries, which a server does not have. What a network says a text *says* is
never used (Cyrillic is read as Latin look-alikes), only how sure it is that it is text.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from scipy import ndimage

from config.errors import ConfigurationError
from gateway.deidentify.pixels.boxes import Box

_TILE = 1280
"""Rows and columns of upscaled picture that are looked at at once; more would need gigabytes."""

_OVERLAP = 160
_ALIGN = 32


@dataclass(frozen=True, slots=True)
class Strictness:
    """When something that looks like text counts as text.

    Parameters
    ----------
    pixel
        Probability from which on a pixel belongs to text.
    box
        Mean probability a box needs.
    grow
        How far a box reaches beyond the core the network marks, in units of area over perimeter.
    tallest
        Share of the picture's rows a line of text may be high, 1 for any.
    usual
        Share of the rows up to which a line of text is believed without being read.
    read
        Least score of the recogniser, 0 for not asking it.
    characters
        Least number of characters it must see.
    """

    pixel: float = 0.3
    box: float = 0.45
    grow: float = 1.8
    tallest: float = 1.0
    usual: float = 0.08
    read: float = 0.0
    characters: int = 0


READABLE = Strictness(read=0.6, characters=2)
"""What a box of an unusual shape must show."""

PERMISSIVE = Strictness()
"""Where text is usual and the rest is not diagnostic to the last pixel: US, SC, OT, XA, ES."""

STRICT = Strictness(box=0.5, grow=1.6, tallest=0.07, read=0.5, characters=2)
"""Where anatomy looks like text more often than there is any: CT, MR, PT, NM, MG."""


def models() -> Path:
    """Folder of the networks.

    Raises
    ------
    ConfigurationError
        The package is not installed.
    """
    spec = find_spec("rapidocr_onnxruntime")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(place) / "models"
        if (folder / "ch_PP-OCRv4_det_infer.onnx").is_file():
            return folder
    raise ConfigurationError(
        "text detection needs the package rapidocr-onnxruntime 1.4.4; pip install consilium"
    )


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = (
        1  # one core a child; children run side by side
    )
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Detector:
    """Loads the networks once; not for several threads at once."""

    def __init__(self) -> None:
        folder = models()
        self._detect = _session(folder / "ch_PP-OCRv4_det_infer.onnx")
        self._recognise = _session(folder / "ch_PP-OCRv4_rec_infer.onnx")

    def find(
        self,
        picture: np.ndarray,
        strictness: Strictness = PERMISSIVE,
        scale: int = 2,
        *,
        of_rows: int | None = None,
    ) -> list[Box]:
        """Boxes of text.

        Parameters
        ----------
        picture
            (rows, columns, 3) of uint8.
        scale
            1, or 2 to see small text.
        of_rows
            Rows of the whole frame, where the picture is only a part.
        """
        rows, columns = picture.shape[:2]
        frame_rows = of_rows or rows
        found: list[Box] = []
        side = _TILE // scale
        overlap = min(_OVERLAP // scale, side // 4)
        for top, bottom in _tiles(rows, side, overlap):
            for left, right in _tiles(columns, side, overlap):
                tile = picture[top:bottom, left:right]
                if tile.min() == tile.max():
                    continue
                found += [
                    Box(b.left + left, b.top + top, b.right + left, b.bottom + top)
                    for b in self._find_in_tile(tile, strictness, scale)
                ]
        boxes = [box.clipped(rows, columns) for box in found]
        boxes = [box for box in boxes if box.area and box.height <= max(strictness.tallest * frame_rows, 8)]
        return [box for box in boxes if self._counts(picture, box, strictness, frame_rows)]

    def _counts(self, picture: np.ndarray, box: Box, strictness: Strictness, frame_rows: int) -> bool:
        """Whether a box is text, as far as its shape and the recogniser tell."""
        if strictness.read:
            return self._reads(picture, box, strictness)
        usual = strictness.usual * frame_rows
        if min(box.width, box.height) <= usual and (box.height <= usual or box.height < 1.5 * box.width):
            return True
        # As thick, or as upright, as anatomy rather is: text if it can be read, in one direction or another
        line = picture[box.top : box.bottom, box.left : box.right]
        turned = (np.rot90(line, turns) for turns in ((0, 1, 3) if box.height > box.width else (0,)))
        return any(self._reads(np.ascontiguousarray(t), _whole(t), READABLE) for t in turned)

    def _find_in_tile(self, tile: np.ndarray, strictness: Strictness, scale: int) -> list[Box]:
        rows, columns = tile.shape[:2]
        probability = self._probability(tile, scale)
        core = ndimage.binary_dilation(probability > strictness.pixel, np.ones((2, 2), bool))
        labels, count = ndimage.label(core, np.ones((3, 3), bool))
        if not count:
            return []
        means = ndimage.mean(probability, labels, np.arange(1, count + 1))
        areas = ndimage.sum_labels(core, labels, np.arange(1, count + 1))
        boxes: list[Box] = []
        for (vertical, horizontal), mean, area in zip(
            ndimage.find_objects(labels), means, areas, strict=True
        ):
            height, width = vertical.stop - vertical.start, horizontal.stop - horizontal.start
            if min(height, width) < 3 or mean < strictness.box:
                continue
            reach = strictness.grow * float(area) / (2 * (height + width))
            boxes.append(
                Box(
                    int((horizontal.start - reach) / scale),
                    int((vertical.start - reach) / scale),
                    int(-(-(horizontal.stop + reach) // scale)),
                    int(-(-(vertical.stop + reach) // scale)),
                ).clipped(rows, columns)
            )
        return boxes

    def _probability(self, tile: np.ndarray, scale: int) -> np.ndarray:
        """For each pixel of the upscaled tile, how probably it is the core of a line of text."""
        rows, columns = tile.shape[0] * scale, tile.shape[1] * scale
        if scale != 1:
            tile = np.asarray(Image.fromarray(tile).resize((columns, rows), Image.Resampling.BICUBIC))
        padded = np.zeros((-(-rows // _ALIGN) * _ALIGN, -(-columns // _ALIGN) * _ALIGN, 3), np.float32)
        padded[:rows, :columns] = tile[..., ::-1]  # trained on blue, green, red
        padded = padded / 127.5 - 1.0
        name = self._detect.get_inputs()[0].name
        answer = self._detect.run(None, {name: np.ascontiguousarray(padded.transpose(2, 0, 1)[None])})[0]
        return np.asarray(answer)[0, 0, :rows, :columns]

    def _reads(self, picture: np.ndarray, box: Box, strictness: Strictness) -> bool:
        """Whether the recogniser sees enough characters in a box, surely enough."""
        line = picture[box.top : box.bottom, box.left : box.right]
        width = min(max(round(48 * box.width / box.height), 16), 960)  # its work grows with the width
        scaled = np.asarray(Image.fromarray(line).resize((width, 48), Image.Resampling.BICUBIC))
        padded = np.zeros((48, max(320, width), 3), np.float32)
        padded[:, :width] = scaled[..., ::-1] / 127.5 - 1.0
        name = self._recognise.get_inputs()[0].name
        answer = np.asarray(
            self._recognise.run(None, {name: np.ascontiguousarray(padded.transpose(2, 0, 1)[None])})[0]
        )[0]
        best = answer.argmax(axis=1)
        seen = (best != 0) & np.concatenate(([True], best[1:] != best[:-1]))  # 0 is the blank of CTC
        if int(seen.sum()) < strictness.characters:
            return False
        return float(answer.max(axis=1)[seen].mean()) >= strictness.read


def _whole(picture: np.ndarray) -> Box:
    return Box(0, 0, picture.shape[1], picture.shape[0])


def _tiles(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Even stretches of at most `side` that cover a length and overlap: no line of text is cut in all of them."""
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    size = -(-(length + overlap * (count - 1)) // count)
    starts = [round(n * (length - size) / (count - 1)) for n in range(count)]
    return [(start, start + size) for start in starts]
