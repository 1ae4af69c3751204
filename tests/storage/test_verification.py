"""`consilium verify`: every kind of damage is found, what can be repaired is, and nothing good is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from config.settings import Settings
from storage.audit import Audit
from storage.objects.filesystem import FilesystemObjectStore
from storage.schema import AuditEvent, Instance, Pack, QuarantineItem, Series, Study, now
from storage.verification import Finding, Verifier
from tests.storage.making import SERIES, STUDY, Room, room, slice_of

pytestmark = pytest.mark.slow

LATER = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Room:
    """Two slices sealed, one pending, an audit line."""
    made = room(tmp_path, objects=FilesystemObjectStore(tmp_path / "objects"))
    made.keep(slice_of(1))
    made.keep(slice_of(2))
    assert made.sealer.seal_due(now() + LATER) == 1
    made.keep(slice_of(3))
    Audit(made.db).record("study.view", actor="user:anna")
    return made


@pytest.fixture
def verify(store: Room, settings: Settings) -> Callable[..., list[Finding]]:
    verifier = Verifier(
        replace(settings, node="n1"), store.db, store.objects, store.spool, store.index, store.sealer
    )

    def run(*, repair: bool = False) -> list[Finding]:
        steps = 0

        def advance(count: int) -> None:
            nonlocal steps
            steps += count

        found = list(verifier.run(repair=repair, advance=advance))
        assert steps == verifier.total()
        return found

    return run


Verify = Callable[..., list[Finding]]


def the_pack(store: Room) -> Pack:
    with store.db.read() as session:
        return session.scalars(select(Pack)).one()


def age(path: Path) -> None:
    then = (now() - LATER).timestamp()
    os.utime(path, (then, then))


def test_all_is_well(verify: Verify) -> None:
    assert verify() == []
    assert verify(repair=True) == []


@pytest.mark.parametrize("which", ["key", "manifest_key"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_pack_is_made_again_from_the_spool(
    store: Room, verify: Verify, tmp_path: Path, which: str, how: str
) -> None:
    path = tmp_path / "objects" / getattr(the_pack(store), which)
    content = path.read_bytes()
    if how == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    (found,) = verify()
    assert (found.what, found.repaired) == ("pack", False) and "2 instances" in found.problem
    (repaired,) = verify(repair=True)
    assert repaired.repaired and repaired.sentence().endswith("repaired")
    assert verify() == []
    assert path.read_bytes() == content, "the same members give the same bytes"
    assert len(store.archive.entries(SERIES)) == 3


def test_a_damaged_pack_whose_files_are_gone_needs_a_person(
    store: Room, verify: Verify, tmp_path: Path
) -> None:
    assert store.sealer.trust_due(now() + LATER) == 1
    (tmp_path / "objects" / the_pack(store).key).unlink()
    (found,) = verify(repair=True)
    assert not found.repaired and "restore it from a copy" in found.remedy


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_lost_pending_instance_is_told(store: Room, verify: Verify, how: str) -> None:
    with store.db.read() as session:
        row = session.scalars(select(Instance)).one()
    path = store.spool.path(row.spool_name)
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, 10)
    (found,) = verify(repair=True)
    assert (found.what, found.subject, found.repaired) == ("instance", row.sop_instance_uid, False)


def test_instances_of_another_node_are_that_nodes_business(store: Room, verify: Verify) -> None:
    with store.db.write() as session:
        session.execute(update(Instance).values(node="n2"))
    found = verify()
    assert [f.what for f in found] == [], (
        "its files are on the other machine; the one here is too young to be a leftover"
    )


def test_counters_are_counted_again(store: Room, verify: Verify) -> None:
    with store.db.write() as session:
        session.execute(update(Series).values(instance_count=7))
        session.execute(update(Study).values(instance_count=9))
    (found,) = verify()
    assert found.problem == "counts 7 instances and has 3" and not found.repaired
    assert [f.repaired for f in verify(repair=True)] == [True]
    assert verify() == []
    assert store.index.series(SERIES).instance_count == store.index.study(STUDY).instance_count == 3


def test_leftovers_of_interrupted_work_are_put_aside(store: Room, verify: Verify, tmp_path: Path) -> None:
    pack = the_pack(store)
    copy, manifest = f"packs/{SERIES}/9-ab.zip", f"packs/{SERIES}/9-ab.json.gz"
    store.objects.put(copy, store.objects.get(pack.key))
    store.objects.put(manifest, store.objects.get(pack.manifest_key))
    with store.spool.writer() as writer:
        writer.write(b"never acknowledged")
        name = writer.commit()
    assert verify(repair=True) == [], "they may belong to work in progress"
    age(tmp_path / "objects" / copy)
    age(tmp_path / "objects" / manifest)
    age(store.spool.path(name))
    assert [f.what for f in verify()] == ["object", "object", "spool"]
    assert store.objects.exists(copy) and store.spool.path(name).exists()
    assert all(f.repaired for f in verify(repair=True))
    assert not store.objects.exists(copy) and not store.objects.exists(manifest)
    assert (store.spool.orphans / name).read_bytes() == b"never acknowledged"
    assert verify() == [] and len(store.archive.entries(SERIES)) == 3


def test_objects_an_older_database_does_not_know_are_never_removed(
    store: Room, verify: Verify, tmp_path: Path
) -> None:
    """As after restoring yesterday's copy of the database: these objects may be all there is."""
    pack = the_pack(store)
    with store.db.write() as session:
        session.execute(delete(Pack))
        session.execute(update(Series).values(instance_count=1))
    for key in (pack.key, pack.manifest_key):
        age(tmp_path / "objects" / key)
    found = [f for f in verify(repair=True) if f.what == "object"]
    assert [f.repaired for f in found] == [False, False]
    assert all("2 instances" in f.problem and "restore" in f.remedy for f in found)
    assert store.objects.exists(pack.key) and store.objects.exists(pack.manifest_key)


def test_what_is_no_pack_is_left_to_a_person(store: Room, verify: Verify, tmp_path: Path) -> None:
    for key in ("packs/2.25.9/1-ab.zip", "packs/2.25.9/1-ab.json.gz", "packs/stray"):
        store.objects.put(key, b"strange")
        age(tmp_path / "objects" / key)
    found = verify(repair=True)
    assert [(f.what, f.repaired) for f in found] == [("object", False)] * 3
    assert store.objects.exists("packs/stray")


def test_files_a_pack_still_keeps_are_not_leftovers(store: Room, verify: Verify) -> None:
    for name in store.spool.names():
        age(store.spool.path(name))
    assert verify(repair=True) == []
    assert store.sealer.trust_due(now() + LATER) == 1


def test_a_quarantined_item_without_its_file_is_told(store: Room, verify: Verify, settings: Settings) -> None:
    settings.prepare_home()
    with store.db.write() as session:
        for name in ("a" * 32, "b" * 32):
            session.add(QuarantineItem(reason="unparseable", node="n1", file_name=f"{name}.enc", size=1))
    (settings.quarantine_dir / f"{'a' * 32}.enc").write_bytes(b"x")
    (found,) = verify(repair=True)
    assert (found.what, found.subject) == ("quarantine", "2")


def test_a_broken_audit_trail_is_told(store: Room, verify: Verify) -> None:
    with store.db.write() as session:
        session.execute(delete(AuditEvent))
    (found,) = verify(repair=True)
    assert found.what == "audit" and not found.repaired
    assert set(found.as_dict()) == {"what", "subject", "problem", "remedy", "repaired"}
