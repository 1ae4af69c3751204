"""Killed in the middle, again and again: whatever was acknowledged is there, whole, and once.

Two DCMTK senders push a study at a time while the whole process group gets SIGKILL; then it gets it once more while it
seals what was sent again. (SIGKILL proves nothing about fsync: that takes a power cut.)
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import generate_uid

from tests import images
from tests.peers import dcmtk
from tests.peers.gateway import Backend, Running
from tests.peers.process import Program, need, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROUNDS, SENDERS, SERIES, SLICES = 2, 2, 5, 8
SENT = re.compile(r"Sending file: (\S+)|Received Store Response \(([^)]+)\)")


def study(turned: int) -> list[pydicom.Dataset]:
    """Series in which no two slices have the same pixels, nor those of a study turned otherwise."""
    first = images.renew(images.sample("CT_small.dcm"))
    pixels = np.rot90(first.pixel_array, turned)
    made = []
    for _ in range(SERIES):
        first.SeriesInstanceUID = generate_uid()
        made += images.ct_series(SLICES, first)
    for number, ds in enumerate(made):
        ds.PixelData = np.roll(pixels, number + 1, axis=1).tobytes()
    return made


class Sender(Program):
    """A ``storescu`` in the background; `acknowledged` are the files the gateway said 0x0000 to so far."""

    def __init__(self, running: Running, files: list[Path], log: Path) -> None:
        where = ("-aet", "NORTH_PACS", "-aec", "RADIOLOGY", "127.0.0.1", str(running.dicom_port))
        environ = {**os.environ, "TCP_NODELAY": "1"}
        super().__init__([need("storescu", "Debian dcmtk"), "-v", *where, *files], log, environ=environ)

    @property
    def acknowledged(self) -> list[Path]:
        found, current = [], ""
        for path, status in SENT.findall(self.log):
            if path:
                current = path
            elif status == "Success":
                found.append(Path(current))
        return found


def pixels_of(running: Running, token: str, count: int) -> Counter[bytes]:
    """Pixel data of everything a doctor of the hospital can retrieve, uncompressed."""
    with running.api(token) as http:
        client = DICOMwebClient(f"{running.url}/dicom-web", session=http)
        found: Counter[bytes] = Counter()
        for one in client.search_for_studies():
            uid = one["0020000D"]["Value"][0]
            listed = client.search_for_instances(uid)
            kept = client.retrieve_study(uid, media_types=(("application/dicom", "1.2.840.10008.1.2.1"),))
            assert len(listed) == len(kept) == len({ds.SOPInstanceUID for ds in kept})
            found.update(ds.PixelData for ds in kept)
    assert len(found) >= count
    return found


def push_and_kill(running: Running, files: list[Path], kill_after: int, directory: Path) -> list[Path]:
    """Send over two associations, kill at the so-manieth acknowledgement; what was acknowledged until then."""
    senders = [
        Sender(running, files[number::SENDERS], directory / f"sender-{number}.log")
        for number in range(SENDERS)
    ]
    try:
        wait_until(
            lambda: sum(len(sender.acknowledged) for sender in senders) >= kill_after, 60, "acknowledgements"
        )
        running.kill()
        for sender in senders:
            sender.process.wait(60)
    finally:
        for sender in senders:
            sender.kill()
    return [path for sender in senders for path in sender.acknowledged]


def resend_and_kill(running: Running, files: list[Path], wait: float) -> None:
    """Send everything again, and kill when one series is sealed and the next are being sealed."""

    def sealed() -> int:
        return running.log.count('"series.sealed"')

    before = sealed()
    again = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="RADIOLOGY")
    assert again.statuses == [0] * len(files), again.output
    running.wait_for(lambda: sealed() > before, what="a series sealed")
    time.sleep(wait)
    running.kill()


def test_nothing_acknowledged_is_lost_or_doubled(
    consilium: Callable[..., Running], backend: Backend, tmp_path: Path
) -> None:
    chance = random.Random(f"kill {backend.name}")
    running = consilium(backend, seal_after=0.5)
    running.add_network()
    token = running.add_token("north-doctor")
    everything: dict[Path, bytes] = {}
    for number in range(ROUNDS):
        directory = tmp_path / f"round-{number}"
        files = images.write(study(number), directory)
        contents = {path: bytes(pydicom.dcmread(path).PixelData) for path in files}
        chance.shuffle(files)
        acknowledged = push_and_kill(running, files, chance.randint(3, len(files) // 2), directory)
        assert 3 <= len(acknowledged) < len(files), "killed in the middle"

        running.start()
        held = pixels_of(running, token, len(acknowledged))
        lost = [
            path.name for path in (*everything, *acknowledged) if not held[{**everything, **contents}[path]]
        ]
        assert not lost, f"acknowledged and lost: {lost}"
        assert max(held.values()) == 1

        resend_and_kill(running, files, chance.uniform(0, 0.05))
        everything |= contents
        running.start()

    running.wait_sealed()
    assert pixels_of(running, token, len(everything)) == Counter(everything.values())
    condition = running.condition()
    assert condition["sealed_instances"] == len(everything) == ROUNDS * SERIES * SLICES
    assert (condition["studies"], condition["series"]) == (ROUNDS, ROUNDS * SERIES)
    assert condition["consultations"] == {"requested": ROUNDS}, "one a study, however often it was sent"
    assert condition["quarantined"] == 0
    verified = running.cli("verify")
    assert verified.returncode == 0, verified.stdout
