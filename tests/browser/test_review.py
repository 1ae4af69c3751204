"""The review page before a person: boxes drawn, moved and removed by mouse and keys; what the archive then holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID
from sqlalchemy import select

from gateway.screening import Screening
from storage.records import Origin
from storage.schema import Instance, Series
from tests.browser.viewing import Viewer
from tests.deidentify.pixels import corpus
from tests.images import part10
from tests.peers.process import wait_until
from tests.viewer.deployment import Deployment

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(240)]

FRAMES, ROWS, COLUMNS = 6, 480, 640


def clip() -> pydicom.Dataset:
    """A captured ultrasound clip with more text than is hidden without asking."""
    frames = np.repeat(corpus.speckle(np.random.default_rng(5), ROWS, COLUMNS, FRAMES)[..., None], 3, axis=3)
    random = np.random.default_rng(6)
    taken: list[tuple[int, int, int, int]] = []
    for n in range(90):
        text = corpus.TEXTS[n % len(corpus.TEXTS)]
        place = "margin" if n % 2 else "speckle"
        corpus.write_text(frames, random, text, 12 + n % 9, place, taken, range(FRAMES))
    ds = corpus.dataset(corpus.Picture(frames, []), "RGB", "OT")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7.4")
    return ds


def hold(house: Deployment, *sets: pydicom.Dataset) -> list[int]:
    """Receive and screen; the numbers under which they are held, newest first."""
    site = house.storage.people.site_by_ae("NORTH_PACS")
    assert site is not None
    for ds in sets:
        house.gateway.ingest.store(part10(ds), Origin(site.id, "NORTH", "NORTH_PACS", "ONCO"))
    screening = Screening(
        house.storage.database,
        house.storage.index,
        house.storage.spool,
        house.gateway.quarantine,
        house.storage.audit,
        node=house.settings.node,
        tmp_dir=house.settings.tmp_dir,
        children=1,
    )
    while screening.run_due():
        pass
    return [item.id for item in house.gateway.quarantine.list()]


def declared(number: int) -> pydicom.Dataset:
    """A frame with nothing in it, whose sender says that there is."""
    frames = np.repeat(corpus.speckle(np.random.default_rng(number), 360, 480, 1)[..., None], 3, axis=3)
    ds = corpus.dataset(corpus.Picture(frames, []), "MONOCHROME2")
    ds.BurnedInAnnotation = "YES"
    return ds


def unknown() -> pydicom.Dataset:
    ds = declared(9)
    ds.add_new(0x00081FFE, "LO", "unknown")
    return ds


def shot(page: Any, name: str) -> None:
    """Kept where $SCREENSHOTS says, for a person to look at."""
    directory = os.environ.get("SCREENSHOTS")
    if directory:
        page.screenshot(path=str(Path(directory) / f"{name}.png"))


def boxes(viewer: Viewer) -> list[tuple[int, ...]]:
    """The boxes on the frame, as (left, top, width, height)."""
    drawn = viewer.page.locator("#boxes .box")
    return [
        tuple(int(float(drawn.nth(n).get_attribute(name))) for name in ("x", "y", "width", "height"))
        for n in range(drawn.count())
    ]


def at(viewer: Viewer, column: float, row: float) -> tuple[float, float]:
    """Where a pixel of the frame is on the page."""
    point = viewer.page.evaluate(
        "([x, y]) => { const p = new DOMPoint(x, y).matrixTransform("
        "document.getElementById('picture').getScreenCTM()); return [p.x, p.y]; }",
        [column, row],
    )
    return point[0], point[1]


def drag(viewer: Viewer, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the left button, from one pixel of the frame to another."""
    mouse = viewer.page.mouse
    mouse.move(*at(viewer, *start))
    mouse.down()
    mouse.move(*at(viewer, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2), steps=3)
    mouse.move(*at(viewer, *end), steps=3)
    mouse.up()


def ready(viewer: Viewer, frame: int = 1) -> None:
    viewer.page.wait_for_selector(f"#review[data-ready][data-shown='{frame}']", timeout=90_000)


def test_a_person_decides_with_mouse_and_keys(house: Deployment, look: Callable[..., Viewer]) -> None:
    clip_, empty = clip(), declared(1)
    hold(house, unknown(), empty, clip_)
    quarantine = house.gateway.quarantine
    by_reason = {item.reason: item.id for item in quarantine.list()}
    assert set(by_reason) == {"unknown-attribute", "burned-in-annotation", "burned-in-text"}
    viewer = look("chief", locale="ru-RU")
    page = viewer.page
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{viewer.address}/admin/quarantine")
    assert page.locator("main img").count() == 0
    shot(page, "list")

    # --- a clip with too much text: all of it is proposed ---
    page.click(f"a[href*='/admin/quarantine/{by_reason['burned-in-text']}']")
    ready(viewer)
    proposed = boxes(viewer)
    assert len(proposed) > 10
    shot(page, "review-1440")
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_timeout(200)
    shot(page, "review-1280")
    for control in ("#release button", "button[data-key=d]", "#slider"):
        assert page.locator(control).is_visible()
        box = page.locator(control).bounding_box()
        assert box["y"] + box["height"] <= 720, f"{control} is below the fold"
    assert page.evaluate("document.documentElement.scrollHeight") <= 720

    viewer.press("ArrowRight")
    ready(viewer, 2)
    assert page.locator("#position").inner_text() == "2 / 6"
    # Chosen and removed, undone.
    left, top, width, height = proposed[0]
    page.mouse.click(*at(viewer, left + width / 2, top + height / 2))
    viewer.press("Delete")
    assert len(boxes(viewer)) == len(proposed) - 1
    viewer.press("z")
    assert sorted(boxes(viewer)) == sorted(proposed)
    # All go, one is drawn for this frame alone, moved, and sized by its corner.
    while page.locator("#list li").count():
        page.locator("#list li:first-child button:last-child").click()
    page.locator("#picture").focus()
    viewer.press("a")
    drag(viewer, (300, 200), (360, 240))
    assert boxes(viewer) == [(300, 200, 60, 40)]
    drag(viewer, (330, 220), (350, 230))
    assert boxes(viewer) == [(320, 210, 60, 40)]
    drag(viewer, (380, 250), (400, 260))
    assert boxes(viewer) == [(320, 210, 80, 50)]
    viewer.press("Shift+ArrowLeft", "Control+ArrowDown")
    assert boxes(viewer) == [(318, 210, 80, 52)]
    viewer.press("ArrowRight")
    ready(viewer, 3)
    assert boxes(viewer) == []
    viewer.press("Escape", "a")  # the next is for all frames
    drag(viewer, (0, 0), (640, 60))
    viewer.press("h")
    shot(page, "as-it-will-be")
    for frame in (4, 5, 6):
        viewer.press("ArrowRight")
        ready(viewer, frame)
        assert boxes(viewer) == [(0, 0, 640, 60)]
    said: list[str] = []

    def agree(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.accept()

    page.on("dialog", agree)
    viewer.press("r")  # every frame was seen: nothing is asked
    page.wait_for_url(lambda url: url.rstrip("0123456789").endswith("/quarantine/"))
    wait_until(lambda: quarantine.item(by_reason["burned-in-text"]).state == "released", 20, "the release")
    assert said == []
    _check(house, clip_)

    # --- on to the next: the sender says there is text, nobody sees any ---
    ready(viewer)
    assert f"/{by_reason['burned-in-annotation']}" in page.url
    assert boxes(viewer) == []
    viewer.press("ArrowDown")
    page.wait_for_selector("h1:has-text('Неизвестный атрибут')")
    shot(page, "header")
    viewer.press("ArrowUp")
    ready(viewer)
    viewer.press("d")
    page.wait_for_selector("h1:has-text('Неизвестный атрибут')")
    assert quarantine.item(by_reason["burned-in-annotation"]).state == "discarded"
    assert said == [f"Удалить № {by_reason['burned-in-annotation']} навсегда?"]
    viewer.press("r")
    page.wait_for_selector("p.flash-bad")
    assert quarantine.item(by_reason["unknown-attribute"]).state == "held"


def _check(house: Deployment, sent: pydicom.Dataset) -> None:
    with house.storage.database.read() as session:
        query = select(Instance.spool_name).join(Series).where(Series.modality == "OT", Series.visible)
        (name,) = session.scalars(query).all()
    kept, before = pydicom.dcmread(house.storage.spool.path(name)).pixel_array, sent.pixel_array
    hidden = np.zeros(before.shape[:3], bool)
    hidden[:, :60] = True
    hidden[1, 210:262, 318:398] = True
    assert (kept[hidden] == 0).all()
    assert np.array_equal(kept[~hidden], before[~hidden])
    (line,) = house.audited("quarantine.release")
    assert line.details["boxes"] == 2 and line.details["seen"] == line.details["frames"] == FRAMES
    assert {line.subject for line in house.audited("quarantine.view")} >= {line.subject}
