"""Header work, bytes in → bytes out, of a 512² CT instance: ``python -m tests.deidentify.benchmark``.

Every instance of the series differs in its UID, position and number, as in a real association. Beside it pydicom's own
`dcmread` and `save_as` of the same bytes. CPU time of this process, the best of several rounds.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence

from gateway.deidentify.engine import Engine
from gateway.deidentify.profile import load_profiles


def series(count: int, *, private: bool = True) -> list[bytes]:
    """Instances of a CT series of 512² with about 260 elements (pydicom's CT_small, enlarged).

    Parameters
    ----------
    private
        As that scanner writes them, two thirds are private elements. Else a dozen of them stay, and references to
        source images and localizers, protocol and request take the place of the others.
    """
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.Rows = ds.Columns = 512
    ds.PixelData = np.random.default_rng(0).integers(-1000, 1000, (512, 512)).astype("<i2").tobytes()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Ivanov^Ivan^Petrovich", "A1234567", "19700312"
    if not private:
        _mostly_public(ds)
    found = []
    for number in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.99.{number + 1}"
        ds.InstanceNumber = number + 1
        ds.SliceLocation = f"{number * 1.25:.2f}"
        ds.ImagePositionPatient = [-158.1, -179.0, number * 1.25]
        target = io.BytesIO()
        ds.save_as(target)
        found.append(target.getvalue())
    return found


def _mostly_public(ds: Dataset) -> None:
    for element in [element for element in ds if element.tag.is_private and element.tag.group != 0x0043]:
        del ds[element.tag]
    for element in [element for element in ds if element.tag.is_private][13:]:
        del ds[element.tag]

    def item(**values: object) -> Dataset:
        inner = Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        return inner

    def code(value: str, meaning: str) -> Sequence:
        return Sequence([item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)])

    def references(first: int, count: int) -> Sequence:
        return Sequence(
            item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=f"1.2.826.0.1.98.{number}")
            for number in range(first, first + count)
        )

    ds.ReferencedImageSequence, ds.SourceImageSequence = references(1, 20), references(100, 40)
    ds.AnatomicRegionSequence = code("51185008", "Chest")
    ds.ProcedureCodeSequence = code("169069000", "CT of chest")
    ds.PerformedProtocolCodeSequence = code("169070004", "CT of abdomen")
    ds.RequestAttributesSequence = Sequence(
        [
            item(
                RequestedProcedureID="R123",
                RequestedProcedureDescription="CT chest with contrast",
                ScheduledProcedureStepID="S123",
                ScheduledProcedureStepDescription="CT chest",
                ScheduledProtocolCodeSequence=code("169069000", "CT of chest"),
            )
        ]
    )
    ds.ProtocolName, ds.BodyPartExamined, ds.ContrastBolusAgent = "5.1 Thorax routine", "CHEST", "ISOVUE 300"
    ds.StudyComments, ds.ImageComments = "follow-up, nodule S6", "mediastinal window"
    ds.CTDIvol, ds.SpiralPitchFactor, ds.TableSpeed = 7.2, 0.98, 39.0
    ds.WindowCenterWidthExplanation = ["SOFT", "LUNG"]


def best(work: Callable[[bytes], object], instances: list[bytes], rounds: int = 5) -> float:
    """Milliseconds of CPU time per instance."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for instance in instances:
            work(instance)
        times.append((time.process_time() - start) / len(instances) * 1000)
    return min(times)


def main() -> None:
    instances = series(60)
    for profile in ("basic", "clinical", "teaching"):
        engine = Engine(b"a key of the benchmark, of 32 bytes", load_profiles())

        def clean(data: bytes, engine: Engine = engine, profile: str = profile) -> None:
            engine.run(data, site_code="A", profile=profile).write(io.BytesIO())

        clean(instances[0])
        sys.stdout.write(f"consilium {profile:<10} {best(clean, instances):6.2f} ms\n")

    def untouched(data: bytes) -> None:
        pydicom.dcmread(io.BytesIO(data)).save_as(io.BytesIO())

    sys.stdout.write(f"pydicom dcmread + save_as {best(untouched, instances):6.2f} ms\n")


if __name__ == "__main__":
    main()
