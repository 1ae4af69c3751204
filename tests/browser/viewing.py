"""A deployment with a study worth looking at, and a browser before its viewer."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from werkzeug.serving import make_server

from storage.records import Origin
from tests.images import sample
from tests.peers.process import wait_until
from tests.viewer.deployment import PASSWORD, Deployment

STUDY = "1.2.826.0.1.3680043.8.498.77"
SLICES = 12
THICKNESS = 4.0
"""Distance of the slices of the CT series in mm; they lie at 0, 4, 8 …"""


def ct_pixels(n: int) -> np.ndarray:
    """Stored values of slice n: the real head of pydicom-data, a little different on each slice."""
    return sample("693_UNCR.dcm").pixel_array.astype(np.int16) + np.int16(3 * n)


def ct_series() -> list[pydicom.Dataset]:
    """A CT series in the wrong order, as associations deliver it."""
    slices: list[pydicom.Dataset] = []
    for n in range(SLICES):
        ds = sample("693_UNCR.dcm")
        ds.PixelData = ct_pixels(n).tobytes()
        ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{STUDY}.1", f"{STUDY}.1.{n + 1}"
        ds.SeriesNumber, ds.InstanceNumber = 1, n + 1
        ds.FrameOfReferenceUID = f"{STUDY}.9"
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], n * THICKNESS]
        ds.SliceLocation, ds.SliceThickness = n * THICKNESS, THICKNESS
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slices.append(ds)
    random.Random(7).shuffle(slices)
    return slices


def single(name: str, number: int) -> pydicom.Dataset:
    """A sample as a series of its own in the same study."""
    ds = sample(name)
    ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{STUDY}.{number}", f"{STUDY}.{number}.1"
    ds.SeriesNumber, ds.InstanceNumber = number, 1
    return ds


def send(house: Deployment, *sets: pydicom.Dataset) -> None:
    """Receive instances of one invented patient, and seal what came."""
    site = house.storage.people.site_by_ae("NORTH_PACS")
    assert site is not None
    for ds in sets:
        ds.StudyInstanceUID, ds.AccessionNumber, ds.StudyDescription = STUDY, "ACC-VIEW", "CT head"
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Смирнова^Вера^Ильинична", "77-1", "19700101"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
        outcome = house.gateway.ingest.store(
            buffer.getvalue(), Origin(site.id, "NORTH", calling_ae="NORTH_PACS")
        )
        assert outcome.study_instance_uid, outcome
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    house.storage.sealer.seal_due(tomorrow)


@contextmanager
def served(house: Deployment) -> Iterator[str]:
    """The deployment's web application on a port of its own; yields its address."""
    server = make_server("127.0.0.1", 0, house.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class Viewer:
    """A person's browser.

    Parameters
    ----------
    chromium
        Playwright's browser.
    address
        Of the web application.
    """

    def __init__(self, chromium: Any, address: str, login: str, **context: Any) -> None:
        self.address = address
        self.context = chromium.new_context(viewport={"width": 1280, "height": 800}, **context)
        self.problems: list[str] = []
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "console", lambda said: self.problems.append(said.text) if said.type == "error" else None
        )
        self.page.goto(f"{address}/login")
        self.page.fill("input[name=login]", login)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "/login" not in url)

    def open(self, path: str) -> Viewer:
        self.page.goto(f"{self.address}{path}")
        return self.ready()

    def ready(self) -> Viewer:
        """Wait for the first exact image."""
        self.page.wait_for_selector("#viewer[data-ready]", timeout=60_000)
        return self

    def at(self, name: str) -> Any:
        """The element with this test id."""
        return self.page.locator(f"[data-testid='{name}']")

    def text(self, name: str) -> str:
        return str(self.at(name).first.inner_text())

    def until(self, name: str, expected: str, within: float = 15) -> None:
        wait_until(
            lambda: self.text(name) == expected,
            within,
            f"{name} to say {expected!r}, not {self.text(name)!r}",
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw with the left button; coordinates in pixels of the page from the middle of the image."""
        box = self.at("viewport-0").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(x + start[0], y + start[1])
        mouse.down()
        mouse.move(x + (start[0] + end[0]) / 2, y + (start[1] + end[1]) / 2, steps=4)
        mouse.move(x + end[0], y + end[1], steps=4)
        mouse.up()

    def diagnostics(self) -> dict[str, Any]:
        return dict(self.page.evaluate("window.__consilium"))

    def saved(self) -> None:
        wait_until(lambda: self.diagnostics()["unsaved"] == 0, 20, "everything saved")

    def json(self, path: str) -> Any:
        return self.context.request.get(f"{self.address}/api/v1{path}").json()

    def close(self) -> None:
        self.context.close()
        assert self.problems == [], self.problems
