"""Runs one other tool over a folder of objects, inside that tool's own environment: ``drivers.py TOOL IN OUT SPEED``.

Only the tool and pydicom are imported. Each tool is called as its documentation calls it for de-identification. Writes
OUT/name for each IN/name it gives back, and prints what failed and the CPU time per object of each SPEED/set, as JSON.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom

Clean = Callable[[bytes], bytes]


def dicognito() -> Clean:
    """``dicognito DIRECTORY``: one anonymizer for all objects."""
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer()

    def clean(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data))
        anonymizer.anonymize(ds)
        return _saved(ds)

    return clean


def _deid(**flags: bool) -> Clean:
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe()

    def clean(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data), force=True)
        return _saved(replace_identifiers(dicom_files=[ds], deid=recipe, **flags)[0])

    return clean


def deid() -> Clean:
    """``replace_identifiers`` with the default recipe."""
    return _deid()


def deid_strict() -> Clean:
    """``replace_identifiers`` with the default recipe, every sequence and every private element removed."""
    return _deid(strip_sequences=True, remove_private=True)


def dicom_anonymizer() -> Clean:
    """``dicom-anonymizer IN OUT``: Table E.1-1, private elements removed."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file

    def clean(data: bytes) -> bytes:
        target = io.BytesIO()
        anonymize_dicom_file(io.BytesIO(data), target)
        return target.getvalue()

    return clean


def _saved(ds: pydicom.Dataset) -> bytes:
    target = io.BytesIO()
    ds.save_as(target)
    return target.getvalue()


def milliseconds(clean: Clean, instances: list[bytes], rounds: int = 3) -> float:
    """CPU time of one instance, bytes in, bytes out: the best of several rounds."""
    clean(instances[0])
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for instance in instances:
            clean(instance)
        times.append((time.process_time() - start) / len(instances) * 1000)
    return min(times)


def main() -> None:
    tool, source, target, speed = sys.argv[1], *map(Path, sys.argv[2:5])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    clean = {f.__name__: f for f in (dicognito, deid, deid_strict, dicom_anonymizer)}[tool]()
    out, sys.stdout = sys.stdout, sys.stderr  # some print while they work
    failed: dict[str, str] = {}
    for path in sorted(source.iterdir()):
        try:
            (target / path.name).write_bytes(clean(path.read_bytes()))
        except Exception as error:
            failed[path.name] = type(error).__name__
    times = {
        folder.name: milliseconds(clean, [path.read_bytes() for path in sorted(folder.iterdir())])
        for folder in sorted(speed.iterdir())
    }
    out.write(json.dumps({"failed": failed, "ms": times}))


if __name__ == "__main__":
    main()
