"""Annotations: the stored form, per author, revisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.errors import Conflict, Forbidden, Invalid, NotFound
from storage.annotations import Annotations, validated
from storage.opinions import StaleRevision
from tests.consulting import World, length_mark, series_uid, sop_uid


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.db.close()


def test_put_change_delete(world: World) -> None:
    a, pid, doctor = world.annotations, world.ask(), world.user("onco-first")
    first = a.put(pid, doctor, "mark-1", length_mark(), None)
    assert (first["revision"], first["mine"], first["author"]) == (1, True, "onco-first")
    assert first["state"] == {"handles": {"points": [[1, 2, 3]]}}
    assert a.put(pid, doctor, "mark-1", length_mark(), None)["revision"] == 1, "a repeat is no conflict"
    changed = a.put(pid, doctor, "mark-1", length_mark(label="Узел"), 1)
    assert (changed["revision"], changed["label"]) == (2, "Узел")
    with pytest.raises(StaleRevision):
        a.put(pid, doctor, "mark-1", length_mark(label="x"), 1)
    [colleague] = a.list(pid, world.user("onco-second"))
    assert colleague["mine"] is False
    a.delete(pid, doctor, "mark-1")
    assert a.list(pid, doctor) == []
    with pytest.raises(NotFound):
        a.delete(pid, doctor, "mark-1")
    with pytest.raises(Conflict):
        a.put(pid, doctor, "mark-1", length_mark(), 2)
    assert [e.action for e in world.events("annotation.")] == [
        "annotation.put",
        "annotation.put",
        "annotation.delete",
    ]


def test_nobody_changes_anothers_mark(world: World) -> None:
    a, pid = world.annotations, world.ask()
    a.put(pid, world.user("onco-first"), "mark-1", length_mark(), None)
    with pytest.raises(Conflict):
        a.put(pid, world.user("onco-second"), "mark-1", length_mark(label="x"), 1)
    with pytest.raises(NotFound):
        a.delete(pid, world.user("onco-second"), "mark-1")
    for login in ("north-doctor", "onco-triage"):
        with pytest.raises(Forbidden):
            a.put(pid, world.user(login), "other", length_mark("other"), None)
    for login in ("south-doctor", "cardio-first", "admin"):
        with pytest.raises(NotFound):
            a.list(pid, world.user(login))


def test_a_mark_belongs_to_the_study(world: World) -> None:
    pid = world.ask()
    doctor = world.user("onco-first")
    with pytest.raises(Invalid):
        world.annotations.put(pid, doctor, "m", length_mark("m", "SOUTH"), None)

    class OneInstance:
        def entry(self, series_instance_uid: str, sop_instance_uid: str) -> Any:
            if (series_instance_uid, sop_instance_uid) != (series_uid("NORTH"), sop_uid("NORTH")):
                raise NotFound("no such instance")
            return SimpleNamespace(instance_number="12", frame_count=1)

    strict = Annotations(world.db, world.audit, OneInstance())
    kept = strict.put(pid, doctor, "m", length_mark("m"), None)
    assert (kept["series_number"], kept["instance_number"], kept["frame_count"]) == ("", "12", 1)
    assert strict.put(pid, doctor, "m", length_mark("m"), None)["revision"] == 1
    with pytest.raises(Invalid):
        strict.put(pid, doctor, "f", length_mark("f", frame=2), None)
    with pytest.raises(Invalid):
        strict.put(pid, doctor, "n", length_mark("n", sop_instance_uid=sop_uid("NORTH", 9)), None)


@pytest.mark.parametrize(
    "fault",
    [
        {"tool": "scribble"},
        {"label": "x" * 201},
        {"label": "two\nlines"},
        {"label": 7},
        {"uid": "other"},
        {"frame": 0},
        {"frame": True},
        {"frame": "1"},
        {"series_instance_uid": "../etc"},
        {"sop_instance_uid": None},
        {"frame_of_reference_uid": "1.2.x"},
        {"points_image": [[1, 2]]},
        {"points_image": [[1, 2], [3, float("nan")]]},
        {"points_image": [[1, 2], [3, 4, 5]]},
        {"points_image": "12"},
        {"points_world": [[1, 2, 3]]},
        {"points_world": [[1, 2, 3], [1, 2, True]]},
        {"measurements": {"length": {"value": float("inf"), "unit": "mm"}}},
        {"measurements": {"length": {"value": 1, "unit": "parsec"}}},
        {"measurements": {"beauty": {"value": 1, "unit": "1"}}},
        {"measurements": {"length": 1}},
        {"measurements": [1]},
        {"backend": "abacus"},
        {"state": ["x"]},
        {"state": {"x": float("nan")}},
        {"state": {"x": "y" * 70_000}},
    ],
)
def test_a_malformed_mark_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        validated("mark-1", length_mark(**fault))


def test_unknown_members_are_not_kept() -> None:
    assert "patient" not in validated("mark-1", length_mark(patient="Ivanov"))
    flat = validated("mark-1", length_mark(points_world=None, frame_of_reference_uid=None))
    assert flat["points_world"] is None
