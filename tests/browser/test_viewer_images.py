"""What the viewer shows: order, windows, directions, measurements that are true, with and without WebGL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.browser.viewing import SLICES, THICKNESS, Viewer, ct_pixels
from tests.images import sample
from tests.peers.browser import WITHOUT_WEBGL
from tests.peers.process import need, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

Look = Callable[..., Viewer]


@pytest.fixture
def without_webgl(chromium: Any) -> Iterator[Any]:
    """A second browser of the same Playwright, without a graphics processor."""
    path = need("chromium", "Debian chromium")
    browser = chromium.browser_type.launch(
        executable_path=path, headless=True, args=["--no-sandbox", *WITHOUT_WEBGL]
    )
    yield browser
    browser.close()


def measured(viewer: Viewer, consultation: str) -> dict[str, Any]:
    viewer.saved()
    return {
        mark["tool"]: mark
        for mark in viewer.json(f"/consultations/{consultation}/annotations")["annotations"]
    }


def check_truth(viewer: Viewer, consultation: str) -> list[list[float]]:
    """Draw a rectangle and a length; compare with the values and spacing of the file that was sent."""
    slice_ = int(viewer.text("overlay-slice").split(" / ")[0]) - 1
    viewer.press("b")
    viewer.drag((-90, -40), (-30, 30))
    viewer.press("l")
    viewer.drag((60, -60), (120, 20))
    wait_until(lambda: len(measured(viewer, consultation)) == 2, 20, "two marks")
    marks = measured(viewer, consultation)
    box, line = marks["rectangle"], marks["length"]

    sent = sample("693_UNCR.dcm")
    columns, rows = np.array(box["points_image"]).T
    # SCOORD: the centre of pixel n is n + 0.5; the statistics are of the pixels whose index the box contains.
    left, right = round(columns.min() - 0.5), round(columns.max() - 0.5)
    top, bottom = round(rows.min() - 0.5), round(rows.max() - 0.5)
    values = ct_pixels(slice_)[top : bottom + 1, left : right + 1] * float(sent.RescaleSlope) + float(
        sent.RescaleIntercept
    )
    assert box["measurements"]["mean"]["unit"] == "[hnsf'U]"
    assert box["measurements"]["mean"]["value"] == pytest.approx(values.mean(), abs=0.75)
    assert box["measurements"]["max"]["value"] == pytest.approx(values.max(), abs=12)

    (x1, y1), (x2, y2) = line["points_image"]
    across, down = float(sent.PixelSpacing[1]), float(sent.PixelSpacing[0])
    expected = np.hypot((x2 - x1) * across, (y2 - y1) * down)
    assert line["measurements"]["length"] == {"value": pytest.approx(expected, rel=1e-4), "unit": "mm"}
    start = np.array(line["points_world"][0])
    assert start[2] == pytest.approx(slice_ * THICKNESS)
    assert start[0] == pytest.approx(float(sent.ImagePositionPatient[0]) + (x1 - 0.5) * across, abs=1e-3)
    return [*line["points_image"], *box["points_image"]]


def test_slices_come_in_the_order_of_space(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    assert viewer.text("overlay-slice") == f"{(SLICES + 1) // 2} / {SLICES}"
    viewer.press("Home")
    for n in range(1, SLICES + 1):
        viewer.until("overlay-slice", f"{n} / {SLICES}")
        assert f"{(n - 1) * THICKNESS:.1f}".replace(".", ",") in viewer.text("overlay-location").replace(
            ".", ","
        )
        viewer.press("ArrowDown")
    viewer.press("Home", "PageDown")
    viewer.until("overlay-slice", f"11 / {SLICES}")
    box = viewer.at("viewport-0").bounding_box()
    viewer.page.mouse.move(box["x"] + 200, box["y"] + 200)
    viewer.page.mouse.wheel(0, 100)
    viewer.until("overlay-slice", f"12 / {SLICES}")
    assert viewer.diagnostics()["backend"] == "gpu"


def test_windows_and_directions_follow_the_keys(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    letters = lambda: [viewer.text(f"letter-{side}") for side in ("left", "right", "top", "bottom")]  # noqa: E731
    assert letters() == ["R", "L", "A", "P"]
    viewer.press("t")
    wait_until(lambda: letters() == ["P", "A", "R", "L"], 10, "letters of the turned image")
    viewer.press("r", "Shift+T")
    wait_until(lambda: letters() == ["L", "R", "A", "P"], 10, "letters of the mirrored image")
    viewer.press("3")
    wait_until(lambda: "400" in viewer.text("overlay-window"), 10, "the bone window")
    before = viewer.text("overlay-window")
    viewer.press("ArrowDown")
    viewer.until("overlay-slice", f"{(SLICES + 1) // 2 + 1} / {SLICES}")
    assert viewer.text("overlay-window") == before
    viewer.press("r")
    wait_until(lambda: letters() == ["R", "L", "A", "P"], 10, "letters after reset")


def test_measurements_are_true(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    check_truth(viewer, consultation)


def test_without_webgl_the_same_measurements_and_no_three_planes(
    look: Look, consultation: str, without_webgl: Any
) -> None:
    viewer = look("orlova", without_webgl).open(f"/consultations/{consultation}/viewer")
    assert viewer.diagnostics()["backend"] == "cpu"
    check_truth(viewer, consultation)
    marks = measured(viewer, consultation).values()
    assert {mark["backend"] for mark in marks} == {"cpu"}
    viewer.press("2")
    wait_until(lambda: "600" in viewer.text("overlay-window"), 10, "the lung window")
    viewer.press("ArrowDown")
    viewer.until("overlay-slice", f"{(SLICES + 1) // 2 + 1} / {SLICES}")
    wait_until(lambda: "600" in viewer.text("overlay-window"), 5, "the window to stay")
    viewer.press("m")
    wait_until(lambda: "WebGL" in viewer.text("toast"), 5, "why there are no three planes")
    assert not viewer.at("mpr").is_visible()


def test_three_planes(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    viewer.press("m")
    for plane in ("axial", "sagittal", "coronal"):
        viewer.at(f"mpr-{plane}").locator("canvas").first.wait_for()
    wait_until(
        lambda: viewer.page.locator("[data-testid=mpr-sagittal] svg line").count() > 0, 30, "the crosshairs"
    )
    viewer.press("m")
    viewer.at("viewport-0").wait_for()
    viewer.until("overlay-slice", f"{(SLICES + 1) // 2} / {SLICES}")


def test_a_radiograph_beside_the_ct(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    assert viewer.at("series").count() == 2
    viewer.press("Shift+Digit2")
    viewer.page.wait_for_selector("[data-testid=pane-1]:has-text('CR')")
    wait_until(lambda: len(viewer.diagnostics()["images"]) == 2, 30, "an image in both panes")


def test_the_referring_doctor_only_looks(look: Look, study: str) -> None:
    viewer = look("north-doctor").open(f"/studies/{study}/viewer")
    assert viewer.at("panel").count() == 0
    assert not viewer.at("tool-length").is_visible()
    viewer.press("End")
    viewer.until("overlay-slice", f"{SLICES} / {SLICES}")


def test_no_picture_under_another_s_name(look: Look, consultation: str) -> None:
    """While a series is on its way, or cannot be had, nothing of the one before may be seen under its labels."""
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    host = viewer.at("viewport-0")
    opacity = lambda: host.evaluate("element => getComputedStyle(element).opacity")  # noqa: E731
    assert opacity() == "1"
    shut = {"now": True}
    viewer.page.route("**/frames/**", lambda route: route.abort() if shut["now"] else route.continue_())
    viewer.at("series").nth(1).click()
    viewer.at("pane-error").wait_for()
    assert viewer.text("overlay-series").startswith("2") and opacity() == "0"
    assert viewer.text("overlay-slice") == "" and viewer.text("letter-left") == ""
    shut["now"] = False  # it is tried again by itself
    wait_until(lambda: opacity() == "1", 30, "the radiograph")
    assert viewer.text("overlay-slice") == "1 / 1"
    viewer.problems[:] = [said for said in viewer.problems if "ERR_FAILED" not in said]
