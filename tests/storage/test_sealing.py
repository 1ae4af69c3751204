"""Sealing: from spool files to a pack, without a moment in which anything is missing."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import zipfile
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sqlalchemy import select

from config.errors import StorageFull, StorageUnavailable
from storage.objects.filesystem import FilesystemObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.schema import Instance, Pack, Series, now
from storage.transcode import HTJ2K_RPCL
from tests.storage.making import SERIES, Room, room, slice_of

pytestmark = pytest.mark.slow

LATER = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Room:
    return room(tmp_path)


def _packs(store: Room) -> list[Pack]:
    with store.db.read() as session:
        return list(session.scalars(select(Pack).order_by(Pack.series_id, Pack.number)).all())


def _series(store: Room) -> Series:
    return store.index.series(SERIES)


def test_a_quiet_series_is_sealed_and_a_fresh_one_is_not(store: Room) -> None:
    store.keep(slice_of(1))
    assert store.sealer.seal_due() == 0
    assert store.sealer.seal_due(now() + LATER) == 1
    assert _series(store).sealed
    assert store.sealer.seal_due(now() + LATER) == 0
    with store.db.read() as session:
        assert session.scalars(select(Instance)).all() == []


def test_a_large_series_is_sealed_while_it_is_still_arriving(tmp_path: Path) -> None:
    store = room(tmp_path, seal_instances=3)
    for number in (1, 2):
        store.keep(slice_of(number))
    assert store.sealer.seal_due() == 0
    store.keep(slice_of(3))
    assert store.sealer.seal_due() == 1


def test_a_pack_is_a_zip_anybody_can_open(tmp_path: Path) -> None:
    store = room(tmp_path, objects=FilesystemObjectStore(tmp_path / "objects"))
    for number in (2, 3, 1):
        store.keep(slice_of(number))
    store.sealer.seal_due(now() + LATER)
    (pack,) = _packs(store)
    assert pack.key == f"packs/{SERIES}/1-{pack.sha256}.zip"
    subprocess.run(["unzip", "-q", tmp_path / "objects" / pack.key, "-d", tmp_path / "out"], check=True)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000001-2.25.3003.dcm", "000002-2.25.3002.dcm", "000003-2.25.3001.dcm"], (
        "along z, not by number"
    )
    for name in names:
        dataset = pydicom.dcmread(tmp_path / "out" / name)
        number = int(dataset.InstanceNumber)
        assert dataset.file_meta.TransferSyntaxUID == HTJ2K_RPCL
        assert dataset.pixel_array.tobytes() == slice_of(number).PixelData


def test_the_manifest_names_every_byte_range(store: Room) -> None:
    for number in (1, 2):
        store.keep(slice_of(number))
    store.sealer.seal_due(now() + LATER)
    (pack,) = _packs(store)
    content = store.objects.get(pack.key)
    manifest = json.loads(gzip.decompress(store.objects.get(pack.manifest_key)))
    assert manifest["pack"] == {"sha256": sha256(content).hexdigest(), "size": len(content)}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        for member in manifest["members"]:
            data = content[member["offset"] : member["offset"] + member["size"]]
            assert data == archive.read(member["name"])
            assert sha256(data).hexdigest() == member["sha256"]
            ((offset, length),) = member["pixels"]["frames"]
            assert content[offset : offset + 2] == b"\xff\x4f", "a frame begins with a start of code stream"
            assert content[offset + length - 3 : offset + length].rstrip(b"\0").endswith(b"\xff\xd9")
    assert manifest["common"]["00100010"]["Value"] == [{"Alphabetic": "Pseudonym^Один"}]
    assert "00200032" not in manifest["common"]


def test_packing_the_same_gives_the_same_bytes(tmp_path: Path) -> None:
    packs = []
    for turn in ("a", "b"):
        (tmp_path / turn).mkdir()
        store = room(tmp_path / turn)
        for number in (1, 2, 3):
            store.keep(slice_of(number))
        store.sealer.seal_due(now() + LATER)
        packs.append([(pack.sha256, pack.manifest_sha256) for pack in _packs(store)])
    assert packs[0] == packs[1]


def test_a_late_instance_makes_the_next_pack(store: Room) -> None:
    store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    store.keep(slice_of(2))
    assert not _series(store).sealed
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["2", "1"], (
        "pending and sealed together"
    )
    store.sealer.seal_due(now() + LATER)
    assert [(pack.number, pack.instance_count) for pack in _packs(store)] == [(1, 1), (2, 1)]
    assert _series(store).sealed
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["2", "1"]
    assert _series(store).instance_count == 2


def test_spool_files_go_only_after_the_pack_was_read_back(store: Room) -> None:
    store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    assert store.sealer.trust_due() == 0
    assert len(list(store.spool.names())) == 1
    assert store.sealer.trust_due(now() + LATER) == 1
    assert list(store.spool.names()) == []
    (pack,) = _packs(store)
    assert pack.trusted_at is not None and pack.sources == []
    assert store.sealer.trust_due(now() + LATER) == 0


@pytest.mark.parametrize("part", ["key", "manifest_key"])
@pytest.mark.parametrize("fault", ["lost", "damaged", "cut"])
def test_what_the_store_lost_is_put_again(store: Room, part: str, fault: str) -> None:
    store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    (pack,) = _packs(store)
    key = getattr(pack, part)
    good = store.objects.get(key)
    if fault == "lost":
        store.objects.delete(key)
    else:
        store.objects.put(key, good[:-1] if fault == "cut" else bytes([good[0] ^ 1]) + good[1:])
    assert store.sealer.trust_due(now() + LATER) == 0
    assert store.objects.get(key) == good
    assert len(list(store.spool.names())) == 1, "not trusted on the word of the put"
    assert store.sealer.trust_due(now() + LATER + LATER) == 1
    assert list(store.spool.names()) == []


def test_a_pack_whose_spool_is_gone_is_not_forgotten(store: Room) -> None:
    store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    (pack,) = _packs(store)
    store.objects.delete(pack.key)
    for name in list(store.spool.names()):
        store.spool.remove(name)
    assert store.sealer.trust_due(now() + LATER) == 0
    assert [p.key for p in _packs(store)] == [pack.key]
    assert _packs(store)[0].trusted_at is None


class Failing(MemoryObjectStore):
    """Fails from a given put on."""

    def __init__(self, works: int, error: Exception) -> None:
        super().__init__()
        self.works, self.error = works, error

    def put(self, key: str, data: bytes | Path) -> None:
        self.works -= 1
        if self.works < 0:
            raise self.error
        super().put(key, data)


@pytest.mark.parametrize("works", [0, 1])
@pytest.mark.parametrize("error", [StorageFull("full"), StorageUnavailable("down")])
def test_a_failing_store_leaves_everything_pending(tmp_path: Path, works: int, error: Exception) -> None:
    store = room(tmp_path, objects=Failing(works, error))
    store.keep(slice_of(1))
    with pytest.raises(type(error)):
        store.sealer.seal_due(now() + LATER)
    assert _packs(store) == [] and not _series(store).sealed
    assert len(store.archive.entries(SERIES)) == 1
    assert list((tmp_path / "tmp").iterdir()) == [], "no unfinished pack is left"
    assert isinstance(store.objects, Failing)
    store.objects.works = 2
    assert store.sealer.seal_due(now() + LATER) == 1


def test_a_crash_before_the_swap_is_harmless(store: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep(slice_of(1))

    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.sealer, "_swap", crash)
        store.sealer.seal_due(now() + LATER)
    assert len(store.archive.entries(SERIES)) == 1
    assert store.sealer.seal_due(now() + LATER) == 1
    assert len(list(store.objects.list("packs/"))) == 2, "the same pack under the same name"


def test_an_instance_that_arrives_while_its_series_is_sealed_stays_pending(
    store: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(slice_of(1))
    swap = store.sealer._swap

    def late(pack: Pack, rows: list[int]) -> bool:
        store.keep(slice_of(2))
        return swap(pack, rows)

    monkeypatch.setattr(store.sealer, "_swap", late)
    store.sealer.seal_due(now() + LATER)
    assert not _series(store).sealed
    assert len(store.archive.entries(SERIES)) == 2
    monkeypatch.setattr(store.sealer, "_swap", swap)
    store.sealer.seal_due(now() + LATER)
    assert _series(store).sealed and len(_packs(store)) == 2


def test_two_nodes_seal_their_own_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = room(tmp_path, node="n1")
    other = room(tmp_path, db=one.db, objects=one.objects, node="n2")
    one.keep(slice_of(1))
    other.keep(slice_of(2))
    assert [e.instance_number for e in one.archive.entries(SERIES)] == ["1"], (
        "another node's spool is not seen"
    )
    swap = one.sealer._swap
    turns: list[bool] = []

    def meanwhile(
        pack: Pack, rows: list[int]
    ) -> bool:  # both have chosen number 1 when the other one commits
        if not turns:
            turns.append(True)
            other.sealer.seal_due(now() + LATER)
        return swap(pack, rows)

    monkeypatch.setattr(one.sealer, "_swap", meanwhile)
    assert one.sealer.seal_due(now() + LATER) == 1
    assert sorted((pack.number, pack.node) for pack in _packs(one)) == [(1, "n2"), (2, "n1")]
    assert _series(one).sealed
    for archive in (one.archive, other.archive):
        assert [e.instance_number for e in archive.entries(SERIES)] == ["2", "1"]
    assert len(list(one.objects.list("packs/"))) == 4, "nothing is left of the number that was taken"


def test_only_one_process_of_a_node_seals(store: Room, tmp_path: Path) -> None:
    store.keep(slice_of(1))
    second = room(tmp_path, db=store.db, objects=store.objects)
    with store.sealer._only_one() as mine:
        assert mine
        assert second.sealer.seal_due(now() + LATER) == 0
        assert second.sealer.trust_due(now() + LATER) == 0
    assert second.sealer.seal_due(now() + LATER) == 1


def test_unscreened_instances_wait(store: Room) -> None:
    store.keep(slice_of(1), needs_screening=True)
    assert not _series(store).visible
    assert store.sealer.seal_due(now() + LATER) == 0
    with store.db.write() as session:
        store.index.screened(session, "2.25.3001")
    assert _series(store).visible
    assert store.sealer.seal_due(now() + LATER) == 1


def test_a_file_that_cannot_be_read_is_kept_as_it_is(store: Room) -> None:
    broken = slice_of(1)
    store.keep_bytes(b"not a Part 10 file", broken)
    store.keep_bytes(b"", slice_of(2))
    store.keep(slice_of(3))
    for moment in ("pending", "sealed"):
        found = {e.sop_instance_uid: store.archive.read(e) for e in store.archive.entries(SERIES)}
        assert found["2.25.3001"] == b"not a Part 10 file", moment
        assert found["2.25.3002"] == b"", moment
        assert len(found) == 3, moment
        store.sealer.seal_due(now() + LATER)
    assert _series(store).sealed


def test_one_series_that_fails_does_not_hold_up_the_others(
    store: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(slice_of(1))
    store.keep(slice_of(2, SeriesInstanceUID="2.25.2001"))
    real = store.sealer._seal

    def seal(series_id: int) -> int:
        if series_id == _series(store).id:
            raise ValueError
        return real(series_id)

    monkeypatch.setattr(store.sealer, "_seal", seal)
    assert store.sealer.seal_due(now() + LATER) == 1


def test_what_dead_processes_left_is_cleared(store: Room, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    left = [
        tmp_path / "tmp" / "pack-ab",
        store.spool.incoming / f"{'0' * 32}.dcm",
        store.spool.derived / "a.dcm.beef",
    ]
    for path in left:
        path.write_bytes(b"unfinished")
    store.sealer.trust_due()
    assert all(path.exists() for path in left), "they may be at work"
    for path in left:
        os.utime(path, (0, 0))
    store.sealer.trust_due()
    assert not any(path.exists() for path in left)


def test_transcoding_can_be_turned_off(tmp_path: Path) -> None:
    store = room(tmp_path, transcode="none")
    content = store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    (entry,) = store.archive.entries(SERIES)
    assert store.archive.read(entry) == content
    assert np.frombuffer(store.archive.frame(entry, 1), "<u2").size == 16 * 12
