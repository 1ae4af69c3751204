"""What is held is encrypted, comes back whole, goes when a person says so, and every decision is in the audit trail."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from config.errors import Conflict, NotFound, StorageFull
from storage.audit import Audit
from storage.database import Database
from storage.keys import CHUNK_BYTES, Keys, Undecryptable
from storage.people import People
from storage.quarantine import Quarantine
from storage.records import Origin


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def origin(database: Database) -> Origin:
    site = People(database).add_site("krsk", "Krasnoyarsk", ae_titles=["KRSK_PACS"])
    return Origin(site.id, "krsk", "KRSK_PACS", "CONSILIUM", "10.0.0.7", actor="ae:KRSK_PACS")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.create(tmp_path / "vault.json")


@pytest.fixture
def quarantine(database: Database, tmp_path: Path, keys: Keys) -> Quarantine:
    return Quarantine(database, tmp_path / "quarantine", keys, "local")


def hold(quarantine: Quarantine, origin: Origin, source: bytes | Path = b"DOE^JOHN", **more: str) -> int:
    return quarantine.hold(source, reason="unknown-attribute", detail="(0009,1001)", origin=origin, **more)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_bytes_of_any_size_come_back_and_are_not_readable_on_disk(
    quarantine: Quarantine, origin: Origin, tmp_path: Path, size: int
) -> None:
    content = (b"DOE^JOHN" * (size // 8 + 1))[:size]
    number = hold(quarantine, origin, content)
    assert quarantine.open(number) == content
    (file,) = (tmp_path / "quarantine").iterdir()
    assert b"DOE^JOHN" not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    item = quarantine.item(number)
    assert (item.size, item.state, item.calling_ae, item.reason) == (
        size,
        "held",
        "KRSK_PACS",
        "unknown-attribute",
    )


def test_a_file_is_held_like_bytes(quarantine: Quarantine, origin: Origin, tmp_path: Path) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(os.urandom(100_000))
    target = io.BytesIO()
    assert quarantine.copy_to(hold(quarantine, origin, source), target) == 100_000
    assert target.getvalue() == source.read_bytes()


def test_the_same_content_is_held_once(quarantine: Quarantine, origin: Origin, tmp_path: Path) -> None:
    first = hold(quarantine, origin, source_sha256="ab" * 32)
    assert hold(quarantine, origin, source_sha256="ab" * 32) == first
    assert hold(quarantine, origin, source_sha256="cd" * 32) != first
    assert hold(quarantine, origin) != first
    quarantine.discard(first, "user:admin")
    assert hold(quarantine, origin, source_sha256="ab" * 32) != first
    assert quarantine.count() == len(list((tmp_path / "quarantine").iterdir())) == 3


@pytest.mark.parametrize(("method", "state"), [("discard", "discarded"), ("mark_released", "released")])
def test_a_decision_removes_the_bytes_and_is_recorded(
    quarantine: Quarantine, origin: Origin, database: Database, tmp_path: Path, method: str, state: str
) -> None:
    number = hold(quarantine, origin)
    getattr(quarantine, method)(number, "user:admin")
    getattr(quarantine, method)(number, "user:admin")  # repeating is harmless
    item = quarantine.item(number)
    assert (item.state, item.decided_by) == (state, "user:admin")
    assert item.decided_at is not None
    assert list((tmp_path / "quarantine").iterdir()) == []
    with pytest.raises(NotFound, match=state):
        quarantine.open(number)
    other = "discard" if method == "mark_released" else "mark_released"
    with pytest.raises(Conflict):
        getattr(quarantine, other)(number, "user:admin")
    events, _ = Audit(database).search(subject=f"quarantine:{number}")
    verb = "quarantine.discard" if state == "discarded" else "quarantine.release"
    assert [event.action for event in events] == [verb, "quarantine.hold"]
    assert [i.id for i in quarantine.list()] == []
    assert [i.id for i in quarantine.list(None)] == [number]


def test_a_changed_shortened_or_exchanged_file_does_not_open(
    quarantine: Quarantine, origin: Origin, tmp_path: Path
) -> None:
    number = hold(quarantine, origin, bytes(3 * CHUNK_BYTES))
    (file,) = (tmp_path / "quarantine").iterdir()
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[2 * CHUNK_BYTES] ^= 1
    chunk = CHUNK_BYTES + 16
    header = len(whole) - 3 * chunk
    for bad in (bytes(changed), whole[: header + chunk], whole[: header + 2 * chunk], b"", whole[:20]):
        file.write_bytes(bad)
        with pytest.raises(Undecryptable):
            quarantine.open(number)
    file.unlink()
    with pytest.raises(NotFound, match="missing"):
        quarantine.open(number)


def test_another_nodes_files_are_listed_but_not_opened(
    quarantine: Quarantine, origin: Origin, database: Database, keys: Keys, tmp_path: Path
) -> None:
    number = hold(quarantine, origin)
    elsewhere = Quarantine(database, tmp_path / "other", keys, "gateway-2")
    assert [i.id for i in elsewhere.list()] == [number]
    for attempt in (elsewhere.open, lambda n: elsewhere.discard(n, "user:admin")):
        with pytest.raises(NotFound, match="node local"):
            attempt(number)


def test_nothing_is_held_below_the_disk_reserve(
    database: Database, origin: Origin, keys: Keys, tmp_path: Path
) -> None:
    full = Quarantine(database, tmp_path / "quarantine", keys, "local", reserve=1 << 60)
    with pytest.raises(StorageFull):
        hold(full, origin)
    assert full.count() == 0
    assert list((tmp_path / "quarantine").iterdir()) == []


def test_a_full_disk_holds_nothing_and_says_so(
    quarantine: Quarantine, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageFull):
        hold(quarantine, origin)
    monkeypatch.undo()
    assert quarantine.count() == 0
    assert list((tmp_path / "quarantine").iterdir()) == []


def test_files_without_a_row_are_found(quarantine: Quarantine, origin: Origin, tmp_path: Path) -> None:
    hold(quarantine, origin)
    stray = tmp_path / "quarantine" / f"{'0' * 32}.enc"
    stray.write_bytes(b"left by a crash")
    assert list(quarantine.strays()) == [stray]
