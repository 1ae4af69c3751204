"""From the setting ``object_store`` to an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from config.errors import ConfigurationError
from storage.objects.base import ObjectStore
from storage.objects.filesystem import FilesystemObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.objects.s3 import S3ObjectStore

EXAMPLES = "examples: file:///srv/consilium/objects, s3://bucket?endpoint=host:port&secure=0"


class ObjectStoreSettings(Protocol):
    """The settings read here (`config.settings.Settings` has them)."""

    @property
    def object_store(self) -> str: ...
    @property
    def s3_access_key(self) -> str: ...
    @property
    def s3_secret_key(self) -> str: ...


def open_object_store(settings: ObjectStoreSettings) -> ObjectStore:
    """Open the configured store; nothing is contacted yet (`ObjectStore.prepare` and `ping` do).

    ``file:///directory``; ``s3://bucket?endpoint=host:port&secure=0|1&region=R``; ``memory:`` for tests.
    """
    url = urlsplit(settings.object_store)
    if url.scheme == "memory":
        return MemoryObjectStore()
    if url.scheme == "file":
        if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
            raise ConfigurationError(f"object_store: a file URL names an absolute directory; {EXAMPLES}")
        return FilesystemObjectStore(Path(unquote(url.path)))
    if url.scheme == "s3":
        query = dict(parse_qsl(url.query))
        unknown = sorted(set(query) - {"endpoint", "secure", "region"})
        if unknown or not url.netloc or "endpoint" not in query:
            raise ConfigurationError(f"object_store: an S3 URL needs a bucket and an endpoint; {EXAMPLES}")
        if not settings.s3_access_key or not settings.s3_secret_key:
            raise ConfigurationError("object_store: an S3 store needs s3_access_key and s3_secret_key")
        return S3ObjectStore(
            query["endpoint"],
            url.netloc,
            settings.s3_access_key,
            settings.s3_secret_key,
            secure=query.get("secure", "1") not in ("0", "false", "no"),
            region=query.get("region", "us-east-1"),
        )
    raise ConfigurationError(f"object_store: kind {url.scheme!r} is not known; {EXAMPLES}")
