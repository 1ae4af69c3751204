"""The score of a de-identified object: which plants are still in it, and what of the retention list is not.

A plant leaks if one of its secrets is found among the bytes of the file in any usual encoding, among the parsed values
of every data element at any depth, or in bits of the pixel data that no image shows. Whoever wrote the object.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pydicom
from pydicom import DataElement, Dataset

from tests.deidentify import corpus
from tests.deidentify.corpus import Keep, Plant, Planted


def parse(data: bytes) -> Dataset:
    """The object as pydicom reads it, however badly it is written."""
    return pydicom.dcmread(io.BytesIO(data), force=True)


def leaked(data: bytes, plants: list[Plant]) -> list[str]:
    """Places with a secret in the object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = parse(data)
        text = "\n".join(_texts(ds)).lower() + "\n" + _unused_bits(ds)
        bare = text.translate(_SEPARATORS)
    by_bytes = {entry.rpartition(": ")[0] for entry in corpus.leaked(data, plants)}
    return [
        plant.place
        for plant in plants
        if plant.place in by_bytes
        or any(
            one.lower() in text or (one.isdigit() and len(one) > 7 and one in bare) for one in plant.secrets
        )
    ]


_SEPARATORS = str.maketrans("", "", " -/()")


def _elements(ds: Dataset) -> Iterator[DataElement]:
    yield from getattr(ds, "file_meta", ())
    for tag in ds.keys():  # noqa: SIM118 - values are read one by one: one that cannot be does not hide the others
        try:
            element = ds[tag]
        except Exception:
            continue
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


def _texts(ds: Dataset) -> Iterator[str]:
    for element in _elements(ds):
        value = element.value
        if isinstance(value, bytes):
            if len(value) <= 1 << 16:
                yield from (value.decode(encoding, "ignore") for encoding in corpus.ENCODINGS[:4])
        elif element.VR != "SQ":
            yield str(value)


def _unused_bits(ds: Dataset) -> str:
    """What is written in the highest bit of 16 bit cells, where an image of 12 bits shows nothing."""
    if ds.get("BitsAllocated") != 16 or ds.get("BitsStored", 16) > 15 or len(ds.get("PixelData", b"")) < 512:
        return ""
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return ""
    bits = np.frombuffer(ds.PixelData[:512], "<u2") >> 15
    return np.packbits(bits.astype("u1")).tobytes().decode("latin-1").lower()


def _values(found: Any, path: str) -> Iterator[Any]:
    """Values at a path; an asterisk stands for every item."""
    part, _, rest = path.partition(".")
    steps = list(found) if part == "*" else [found[int(part) if part.isdigit() else part]]
    steps = [step.value if isinstance(step, DataElement) else step for step in steps]
    for step in steps:
        try:
            if rest:
                yield from _values(step, rest)
            else:
                yield step
        except KeyError:
            if part != "*":
                raise


def lost(before: bytes, after: bytes, keeps: list[Keep]) -> list[str]:
    """Paths of the retention list whose value is no longer what it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = parse(before), parse(after)
        return [keep.path for keep in keeps if not _survived(old, new, keep)]


def _survived(old: Dataset, new: Dataset, keep: Keep) -> bool:
    try:
        values = list(_values(new, keep.path))
        if keep.part:
            return any(keep.part in str(value) for value in values)
        return values == list(_values(old, keep.path))
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return False


def texts() -> list[Planted]:
    """An object of each of `corpus.PATIENTS` with the lines of `corpus.KEPT`, each of which must survive whole."""
    found = []
    for number, name in enumerate(corpus.PATIENTS):
        ds = corpus.base("1.2.840.10008.5.1.4.1.1.2", "CT", f"21{number:02}")
        ds.PatientName, ds.PatientID = name, f"T-{number}00417"
        ds.ImageComments, ds.BodyPartExamined = corpus.KEPT[0], "HEAD"
        ds.RequestAttributesSequence = []
        keeps = [Keep("ImageComments", "clinical"), Keep("BodyPartExamined", "technical")]
        for index, text in enumerate(corpus.KEPT):
            line = Dataset()
            line.RequestedProcedureDescription = text
            ds.RequestAttributesSequence.append(line)
            keeps.append(Keep(f"RequestAttributesSequence.{index}.RequestedProcedureDescription", "clinical"))
        found.append(Planted(f"patient {number + 1}", corpus.encode(ds), [], keeps))
    return found


# A UID of one object that is a UID of another: what refers must go on to refer.
LINKS = (
    ("SR", "CurrentRequestedProcedureEvidenceSequence.0.StudyInstanceUID", "CT", "StudyInstanceUID"),
    (
        "SR",
        "CurrentRequestedProcedureEvidenceSequence.0.ReferencedSeriesSequence.0.SeriesInstanceUID",
        "CT",
        "SeriesInstanceUID",
    ),
    (
        "SR",
        "CurrentRequestedProcedureEvidenceSequence.0.ReferencedSeriesSequence.0.ReferencedSOPSequence.0"
        ".ReferencedSOPInstanceUID",
        "CT",
        "SOPInstanceUID",
    ),
    ("RTSTRUCT", "StructureSetROISequence.0.ReferencedFrameOfReferenceUID", "CT", "FrameOfReferenceUID"),
    ("RTDOSE", "ReferencedRTPlanSequence.0.ReferencedSOPInstanceUID", "RTPLAN", "SOPInstanceUID"),
)


def broken(cleaned: Mapping[str, bytes], names: Collection[str]) -> list[str]:
    """Links between objects that no longer hold: those of `LINKS`, and one study and one patient over all objects."""
    links = [*LINKS, *((name, path, "CT", path) for name in names if name != "CT" for path in _SHARED)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = {name: parse(data) for name, data in cleaned.items()}

        def value(name: str, path: str) -> Any:
            try:
                return next(_values(parsed[name], path), None)
            except (KeyError, IndexError, ValueError, TypeError, AttributeError):
                return None

        return [
            f"{a}: {path}"
            for a, path, b, other in links
            if not value(a, path) or value(a, path) != value(b, other)
        ]


_SHARED = ("StudyInstanceUID", "PatientID")


def links(names: Collection[str]) -> int:
    """How many links `broken` looks at."""
    return len(LINKS) + (len(names) - 1) * len(_SHARED)
