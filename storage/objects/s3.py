"""Objects in any S3-compatible store, through MinIO's client; only plain S3 is used."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from config.errors import Invalid, NotFound, StorageFull, StorageUnavailable
from storage.durable import translated_io
from storage.objects.base import ABSENT, SHORT, ObjectStat, check_key, check_range

_ABSENT = {"NoSuchKey", "NoSuchObject", "NotFound", "ResourceNotFound"}
_SHORT = {"InvalidRange"}
_FULL = {
    "XMinioStorageFull",
    "StorageFull",
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
}

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
"""Seconds; a store that is slower than this counts as unavailable."""


class S3ObjectStore:
    """
    Parameters
    ----------
    endpoint
        ``host:port`` of the store.
    bucket
        The bucket; `prepare` makes it if it is missing.
    secure
        HTTPS, verified against the system's certificates or those of ``SSL_CERT_FILE``.
    region
        Only where the store asks for one.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool = True,
        region: str = "us-east-1",
    ) -> None:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            maxsize=32,
            # One quick repetition hides a connection the store closed while idle; more is the caller's to decide.
            retries=urllib3.Retry(
                total=2, connect=1, read=1, backoff_factor=0.1, status_forcelist=[502, 503, 504]
            ),
        )
        self.bucket = bucket
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region,
            http_client=pool,
        )

    def put(self, key: str, data: bytes | Path) -> None:
        check_key(key)
        if isinstance(data, Path):
            with translated_io("the temporary directory"):
                length = data.stat().st_size
            with data.open("rb") as file, _translated():
                self._client.put_object(self.bucket, key, file, length, part_size=_part_size(length))
        else:
            with _translated():
                self._client.put_object(self.bucket, key, io.BytesIO(data), len(data))

    def get(self, key: str) -> bytes:
        return self._read(check_key(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        if length == 0:  # S3 has no way to ask for nothing, and reads 0 as "to the end"
            self.stat(key)
            return b""
        data = self._read(check_key(key), offset=offset, length=length)
        if len(data) != length:
            raise Invalid(SHORT)
        return data

    def open(self, key: str) -> BinaryIO:
        with _translated():
            response = self._client.get_object(self.bucket, check_key(key))
        return cast(BinaryIO, io.BufferedReader(_Stream(response), 1 << 20))

    def stat(self, key: str) -> ObjectStat:
        with _translated():
            found = self._client.stat_object(self.bucket, check_key(key))
        assert found.size is not None and found.last_modified is not None
        return ObjectStat(found.size, found.last_modified)

    def size(self, key: str) -> int:
        return self.stat(key).size

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        with _translated():
            self._client.remove_object(self.bucket, check_key(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        with _translated():
            for found in self._client.list_objects(self.bucket, prefix=prefix, recursive=True):
                if found.object_name and not found.object_name.endswith("/"):
                    yield found.object_name

    def prepare(self) -> None:
        with _translated():
            if self._client.bucket_exists(self.bucket):
                return
            try:
                self._client.make_bucket(self.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def ping(self) -> None:
        with _translated():
            if not self._client.bucket_exists(self.bucket):
                raise StorageUnavailable("the object store has no such bucket; run `consilium init`")

    def _read(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        with _translated():
            response = self._client.get_object(self.bucket, key, offset=offset, length=length)
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()


class _Stream(io.RawIOBase):
    """An S3 response as a raw file; closing it gives the connection back."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _translated():
            data = self._response.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._response.close()
            self._response.release_conn()
        super().close()


def _part_size(length: int) -> int:
    """Parts of a multipart upload, each held in memory: 16 MiB, more only where 10,000 parts would not do."""
    return max(16 << 20, -(-length // 9000))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _ABSENT:
            raise NotFound(ABSENT) from error
        if error.code in _SHORT:
            raise Invalid(SHORT) from error
        if error.code in _FULL:
            raise StorageFull("the object store is full; free space and try again") from error
        raise StorageUnavailable(
            f"the object store refused ({error.code}); check bucket and access keys"
        ) from error
    except ServerError as error:
        if error.status_code == 507:
            raise StorageFull("the object store is full; free space and try again") from error
        raise StorageUnavailable(f"the object store failed (HTTP {error.status_code}); try again") from error
    except (InvalidResponseError, MinioException, HTTPError, OSError) as error:
        raise StorageUnavailable(
            "the object store does not answer; check its address and that it runs"
        ) from error
