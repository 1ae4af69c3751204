"""The spool: durable files under names nobody chose."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from config.errors import NotFound, StorageFull, StorageUnavailable
from storage.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def _put(spool: Spool, data: bytes) -> str:
    with spool.writer() as writer:
        writer.write(data)
        return writer.commit()


def _everything(spool: Spool) -> list[Path]:
    return [path for path in spool.root.rglob("*") if path.is_file()]


def test_a_committed_file_is_read_and_listed_and_removed(spool: Spool) -> None:
    name = _put(spool, b"abc")
    with spool.open(name) as file:
        assert file.read() == b"abc"
    assert (list(spool.names()), spool.size(name)) == ([name], 3)
    spool.remove(name)
    spool.remove(name)
    assert _everything(spool) == []
    with pytest.raises(NotFound):
        spool.open(name)
    with pytest.raises(NotFound):
        spool.size(name)


def test_an_abandoned_file_is_gone(spool: Spool) -> None:
    with spool.writer() as writer:
        writer.write(b"abc")
    with pytest.raises(KeyError), spool.writer() as writer:
        writer.write(b"abc")
        raise KeyError
    assert _everything(spool) == []


def test_files_are_private(spool: Spool) -> None:
    path = spool.path(_put(spool, b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.dcm", "", "0" * 32, "A" * 32 + ".dcm"])
def test_a_name_is_never_a_path(spool: Spool, name: str) -> None:
    with pytest.raises(NotFound):
        spool.open(name)


def test_file_and_directory_are_synced_before_the_name_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = spool.path(_put(spool, b"x"))
    assert synced == [str(path), str(path.parent)]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)],
)
def test_a_failing_disk_is_transient_and_leaves_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error):
        _put(spool, b"x")
    assert _everything(spool) == []


def test_a_full_disk_refuses_while_writing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(StorageFull), spool.writer() as writer:
        assert writer._file is not None
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer._file.fileno())
        writer.write(b"x" * (1 << 20))
        writer.commit()
    assert _everything(spool) == []


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    Spool(tmp_path / "a", reserve=0).check_reserve()
    Spool(tmp_path / "a", reserve=1).check_reserve()
    with pytest.raises(StorageFull):
        Spool(tmp_path / "b", reserve=1 << 62).check_reserve()


def test_what_a_dead_process_left_is_cleared(spool: Spool) -> None:
    (spool.incoming / ("0" * 32 + ".dcm")).write_bytes(b"half")
    assert spool.clear_incoming(3600, time.time()) == 0
    assert spool.clear_incoming(3600, time.time() + 3601) == 1
    assert _everything(spool) == []


def test_a_file_set_aside_is_kept_for_a_person(spool: Spool) -> None:
    name = _put(spool, b"x")
    spool.set_aside(name)
    spool.set_aside(name)
    assert list(spool.names()) == []
    assert (spool.orphans / name).read_bytes() == b"x"
