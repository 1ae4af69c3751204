"""Metadata of instances: the DICOM JSON model with links to bulk data (PS3.18 10.4.1.1.2, Annex F)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from viewer.dicomweb.resources import Instance
from viewer.rendering.description import NATIVE

_KEY = '"BulkDataURI":"'


def one(instance: Instance) -> str:
    """One instance's metadata as JSON text; bulk values are links below the instance's own path.

    Available Transfer Syntax UID (0008,3002) is added: a viewer plans with it how to fetch the frames.
    """
    entry = instance.entry
    found: dict[str, Any] = entry.metadata
    found["00083002"] = {"vr": "UI", "Value": [entry.transfer_syntax_uid]}
    if found.get("00280004", {}).get("Value") == ["YBR_FULL_422"] and entry.transfer_syntax_uid in NATIVE:
        found["00280004"] = {"vr": "CS", "Value": ["YBR_FULL"]}  # as frames are served
    metadata = dict(sorted(found.items()))
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    # Inside a JSON string every quote is escaped, so this can only be the key itself.
    return text.replace(_KEY, f"{_KEY}{instance.path}/bulkdata/")


def document(instances: Sequence[Instance]) -> bytes:
    """The metadata of several instances as one JSON array."""
    return f"[{','.join(_texts(instances))}]".encode()


def _texts(instances: Sequence[Instance]) -> Iterator[str]:
    return (one(instance) for instance in instances)


def compressed(document: bytes) -> bytes:
    """Packed for the line: a series of hundreds of slices shrinks to a twentieth."""
    return gzip.compress(document, compresslevel=4, mtime=0)
