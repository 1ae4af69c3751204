"""From negotiation to our own loop: nobody is left waiting, and nothing is left behind, whenever a peer goes away."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.server import DicomServer
from tests.gateway.conftest import House
from tests.gateway.test_server import Memory, associate_rq, connect, listen, p_data, store_command, wait

pytestmark = pytest.mark.slow


@pytest.fixture
def kept() -> Memory:
    return Memory()


@pytest.fixture
def port(house: House, kept: Memory) -> Iterator[DicomServer]:
    server = listen(house, kept)
    yield server
    server.stop(grace=1)


def gone(server: DicomServer) -> bool:
    assert server._server is not None
    return not server._server.active_associations and not server._receptions


def response(peer: socket.socket) -> bytes:
    """The next PDU."""
    head = peer.recv(6, socket.MSG_WAITALL)
    return head + peer.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)


def test_each_association_is_one_thread(port: DicomServer) -> None:
    before = threading.active_count()
    peers = [connect(port, associated=True) for _ in range(8)]
    wait(lambda: threading.active_count() == before + 8)
    for peer in peers:
        peer.close()
    wait(lambda: gone(port) and threading.active_count() == before)


# pynetdicom's state machine then ends its own thread by an exception
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_data_on_the_heels_of_the_request_is_no_success(port: DicomServer, kept: Memory) -> None:
    """Before the A-ASSOCIATE-AC nothing may be sent (PS3.8 9.2); who does all the same is answered or aborted."""
    for _ in range(20):
        with connect(port) as peer:
            peer.sendall(associate_rq() + store_command() + p_data(2, b"data"))
            peer.settimeout(5)
            with suppress(OSError):
                while peer.recv(4096):
                    peer.shutdown(socket.SHUT_WR)
    wait(lambda: gone(port))
    assert all(b"data" in each for each in kept.kept)


def test_peers_that_vanish_at_any_moment_leave_nothing(port: DicomServer, kept: Memory, house: House) -> None:
    stream = associate_rq()
    for number in range(40):
        peer = socket.create_connection(("127.0.0.1", port.port), timeout=10)
        peer.sendall(stream if number % 2 else stream[: number * 5])
        time.sleep(number / 8000)
        if number % 4 == 1:  # with a reset instead of an end
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
    wait(lambda: gone(port), 20)
    assert kept.kept == []
    assert list(house.settings.tmp_dir.iterdir()) == []


def test_many_at_once_each_get_their_own_answers(port: DicomServer, kept: Memory) -> None:
    def send(name: int) -> None:
        with connect(port, associated=True) as peer:
            for number in range(10):
                uid = f"1.2.{name}.{number}"
                peer.sendall(store_command(uid) + p_data(0, b"a" * 1000) + p_data(2, uid.encode()))
                assert uid.encode() in response(peer)
            peer.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            assert response(peer)[0] == 6

    threads = [threading.Thread(target=send, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(kept.kept) == 160
    assert all(data.endswith(uid.encode()) for data, (_, uid) in zip(kept.kept, kept.announced, strict=True))
    wait(lambda: gone(port))


def test_stop_aborts_who_stays(house: House, kept: Memory) -> None:
    server = listen(house, kept)
    with connect(server, associated=True) as peer:
        started = time.monotonic()
        server.stop(grace=0.2)
        assert response(peer)[0] == 7
        assert peer.recv(1) == b""
        assert time.monotonic() - started < 5


def test_stop_ends_who_stays_over_tls(house: House, kept: Memory, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = listen(house, kept, dicom_tls_cert=certificate, dicom_tls_key=key)
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with context.wrap_socket(connect(server)) as peer:
        peer.sendall(associate_rq())
        assert peer.recv(4096)[0] == 2
        for number in range(3):
            uid = f"1.2.{number}"
            peer.sendall(
                store_command(uid) + b"".join(p_data(0, bytes(50_000)) for _ in range(5)) + p_data(2, b"end")
            )
            assert uid.encode() in peer.recv(4096)
        assert [len(data) > 250_000 and data.endswith(b"end") for data in kept.kept] == [True] * 3
        server.stop(grace=0.2)
        with suppress(OSError):
            assert peer.recv(4096) == b""
    assert not [thread for thread in threading.enumerate() if "AcceptorThread" in thread.name]
