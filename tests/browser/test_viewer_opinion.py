"""Marks and opinion in the viewer: saved as one works, kept when the line fails, frozen by the signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.viewing import SLICES, Viewer
from tests.peers.process import wait_until
from tests.viewer.deployment import PASSWORD, Deployment

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

Look = Callable[..., Viewer]


def marks_of(viewer: Viewer, consultation: str) -> list[dict[str, Any]]:
    return list(viewer.json(f"/consultations/{consultation}/annotations")["annotations"])


def draw(viewer: Viewer, key: str = "l") -> None:
    before = viewer.at("mark").count()
    viewer.press(key)
    viewer.drag((-80, -60), (20, 10))
    wait_until(lambda: viewer.at("mark").count() == before + 1, 10, "the mark in the list")


def test_a_mark_comes_back_where_it_was(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    viewer.press("End")
    viewer.until("overlay-slice", f"{SLICES} / {SLICES}")
    viewer.press("a")
    viewer.drag((60, 60), (10, 10))
    viewer.at("arrow-text").fill("Очаг")
    viewer.page.keyboard.press("Enter")
    wait_until(lambda: viewer.at("mark").count() == 1, 10, "the arrow in the list")
    draw(viewer, "e")
    viewer.saved()
    before = {mark["uid"]: mark["points_image"] for mark in marks_of(viewer, consultation)}
    viewer.page.reload()
    viewer.ready()
    wait_until(lambda: viewer.at("mark").count() == 2, 10, "both marks")
    assert viewer.text("overlay-slice") != f"{SLICES} / {SLICES}"
    viewer.at("mark").first.click()
    viewer.until("overlay-slice", f"{SLICES} / {SLICES}")
    wait_until(
        lambda: viewer.page.locator("[data-testid=viewport-0] svg ellipse").count() == 1,
        10,
        "the ellipse drawn",
    )
    assert {mark["uid"]: mark["points_image"] for mark in marks_of(viewer, consultation)} == before
    assert "Очаг" in viewer.text("mark-list")


def test_deleting_can_be_taken_back(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    draw(viewer)
    viewer.saved()
    viewer.at("mark").first.hover()
    viewer.at("mark-remove").first.click()
    wait_until(lambda: marks_of(viewer, consultation) == [], 10, "the mark gone from the server")
    viewer.at("toast-action").click()
    wait_until(lambda: len(marks_of(viewer, consultation)) == 1, 10, "the mark back on the server")


def test_a_colleague_sees_marks_and_cannot_touch_them(
    look: Look, house: Deployment, consultation: str
) -> None:
    mine = look("orlova").open(f"/consultations/{consultation}/viewer")
    draw(mine)
    mine.saved()
    theirs = look("volkov").open(f"/consultations/{consultation}/viewer")
    wait_until(lambda: theirs.at("mark").count() == 1, 10, "the colleague's mark")
    assert "others" in (theirs.at("mark").first.get_attribute("class") or "")
    assert theirs.at("mark-remove").count() == 0
    assert theirs.at("sign").count() == 0


def test_what_could_not_be_saved_is_said_and_sent_later(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    broken = {"now": True}
    viewer.page.route(
        "**/api/v1/**",
        lambda route: route.abort() if broken["now"] and route.request.method == "PUT" else route.continue_(),
    )
    draw(viewer)
    viewer.at("opinion-findings").fill("Без связи.")
    wait_until(lambda: viewer.at("mark-not-saved").count() == 1, 15, "the mark flagged")
    wait_until(
        lambda: viewer.at("opinion-status").get_attribute("data-state") == "offline", 15, "the text flagged"
    )
    assert marks_of(viewer, consultation) == [] and viewer.diagnostics()["unsaved"] == 2
    broken["now"] = False
    viewer.saved()
    assert len(marks_of(viewer, consultation)) == 1
    assert viewer.json(f"/consultations/{consultation}/opinion")["findings"] == "Без связи."
    viewer.problems[:] = [said for said in viewer.problems if "ERR_FAILED" not in said]


def test_two_windows_do_not_overwrite_each_other(look: Look, consultation: str) -> None:
    first = look("orlova").open(f"/consultations/{consultation}/viewer")
    second = look("orlova").open(f"/consultations/{consultation}/viewer")
    first.at("opinion-conclusion").fill("Первое окно.")
    first.saved()
    second.at("opinion-conclusion").fill("Второе окно.")
    second.at("opinion-conflict").wait_for()
    assert second.json(f"/consultations/{consultation}/opinion")["conclusion"] == "Первое окно."
    second.at("conflict-mine").click()
    second.saved()
    assert second.json(f"/consultations/{consultation}/opinion")["conclusion"] == "Второе окно."
    second.problems[:] = [said for said in second.problems if "409" not in said]


def test_the_signature_freezes_text_and_marks(look: Look, house: Deployment, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    draw(viewer)
    viewer.at("sign").click()
    assert viewer.at("opinion-problem").is_visible()  # no conclusion yet
    viewer.at("mark").first.hover()
    viewer.at("mark-insert").first.click()
    assert viewer.at("opinion-findings").input_value() != ""
    viewer.at("opinion-conclusion").fill("Данных за очаг нет.")
    viewer.at("sign").click()
    viewer.at("sign-password").fill("not my password")
    viewer.at("sign-confirm").click()
    viewer.at("sign-error").wait_for()
    viewer.at("sign-password").fill(PASSWORD)
    viewer.at("sign-confirm").click()
    viewer.at("signature").wait_for()
    assert viewer.json(f"/consultations/{consultation}")["state"] == "signed"
    assert not viewer.at("tool-length").is_visible() and viewer.at("mark-remove").count() == 0
    before = marks_of(viewer, consultation)
    viewer.press("l")
    viewer.drag((-80, -60), (20, 10))  # moves the window, draws nothing
    viewer.page.wait_for_timeout(800)
    assert marks_of(viewer, consultation) == before
    viewer.page.reload()
    viewer.ready()
    viewer.at("signature").wait_for()
    assert viewer.text("signed-conclusion") == "Данных за очаг нет."
    assert viewer.at("opinion-conclusion").count() == 0
    viewer.problems[:] = [said for said in viewer.problems if "403" not in said]


def test_the_other_language(look: Look, consultation: str) -> None:
    viewer = look("orlova", locale="en-GB").open(f"/consultations/{consultation}/viewer")
    assert viewer.page.get_attribute("html", "lang") == "en"
    viewer.press("?")
    assert "Window presets" in viewer.text("help")


def test_signing_in_again_elsewhere_saves_what_was_written(look: Look, consultation: str) -> None:
    viewer = look("orlova").open(f"/consultations/{consultation}/viewer")
    viewer.context.clear_cookies()
    viewer.at("opinion-findings").fill("Сеанс кончился.")
    viewer.at("toast").wait_for()
    other = viewer.context.new_page()
    other.goto(f"{viewer.address}/login")
    other.fill("input[name=login]", "orlova")
    other.fill("input[name=password]", PASSWORD)
    other.keyboard.press("Enter")
    other.wait_for_url(lambda url: "/login" not in url)
    viewer.saved()
    assert viewer.json(f"/consultations/{consultation}/opinion")["findings"] == "Сеанс кончился."
    viewer.problems[:] = [said for said in viewer.problems if "401" not in said and "400" not in said]
