"""What must not be found where: planted identity in every form a file, a page or a row may carry it."""

from __future__ import annotations

import gzip
import html
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa

from config.settings import Settings
from storage.database import Database
from storage.objects import open_object_store

BYTE_ENCODINGS = ("utf-8", "cp1251", "koi8-r", "iso8859_5")
WIDE_ENCODINGS = ("utf-16-le", "utf-16-be")
_MADE_UP = re.compile(r"qx[a-z]{6}w[0-9]{3}")
"""The words `tests.deidentify.corpus` makes up, one for each place."""
_ESCAPED = re.compile(rb"\\u([0-9a-fA-F]{4})")


class Canaries:
    """Words that are looked for in bytes, whatever the encoding and case.

    Digits alone count only when nothing that could be part of a longer number or digest stands beside them: pseudonyms
    are long numbers, and would hold any eight digits sooner or later.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = sorted({word.lower() for word in words if len(word) >= 6})
        self._made_up = {word for word in self.words if _MADE_UP.fullmatch(word)}
        self._ascii = [w for w in self.words if w.isascii() and not w.isdigit() and w not in self._made_up]
        # One more digit may follow: the tag after a value can begin with a byte that looks like one.
        self._digits = {
            word: re.compile(rf"(?<![0-9a-f]){word}(?![0-9a-f]{{2}})")
            for word in self.words
            if word.isdigit()
        }
        self._others = [word for word in self.words if not word.isascii()]
        self._wide = {
            form.encode(wide): word
            for word in self._others
            for wide in WIDE_ENCODINGS
            for form in (word, word.upper(), word.capitalize())
        }

    def without_uids(self) -> Canaries:
        """The same without what is a UID: whoever sent an object may be told its UID."""
        return Canaries(word for word in self.words if not re.fullmatch(r"[0-9.]*\.[0-9.]*", word))

    def within(self, *places: bytes) -> set[str]:
        """The words found in any of the places."""
        data = b"\0\n\0".join(form for place in dict.fromkeys(places) for form in _forms(place))
        plain = data.decode("latin-1").lower()
        narrow = plain.replace("\0", "")  # UTF-16 of ASCII
        found = self._made_up.intersection(_MADE_UP.findall(narrow))
        found.update(word for word in self._ascii if word in narrow)
        for word, alone in self._digits.items():
            if alone.search(plain) or alone.search(narrow):
                found.add(word)
        found.update(word for form, word in self._wide.items() if form in data)
        for encoding in BYTE_ENCODINGS:
            text = data.decode(encoding, "ignore").lower()
            found.update(word for word in self._others if word in text)
        return found


def _forms(data: bytes) -> Iterator[bytes]:
    """As it is, and with the escapes of addresses, JSON and HTML undone."""
    yield data
    if re.search(rb"%[0-9A-Fa-f]{2}", data):
        yield unquote_to_bytes(data)
    if b"\\u0" in data:
        yield _ESCAPED.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), data)
    if b"&#" in data:
        yield html.unescape(data.decode("utf-8", "ignore")).encode()


def rows(database_url: str, tree: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table a database really has, as bytes."""
    db = Database(database_url, tree=tree)  # type: ignore[arg-type]
    try:
        metadata = sa.MetaData()
        metadata.reflect(db.engine)
        assert metadata.tables
        for table in metadata.sorted_tables:
            with db.engine.connect() as connection:
                for row in connection.execute(sa.select(table)):
                    yield f"{tree}.{table.name}", b"\n".join(_value(value) for value in row)
    finally:
        db.close()


def _value(value: object) -> bytes:
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False).encode()
    return str(value).encode("utf-8", "replace")


def objects(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every object of the store, packs with each member, manifests unpacked."""
    store = open_object_store(settings)
    for key in store.list():
        content = store.get(key)
        yield f"object key {key}", key.encode()
        if key.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as pack:
                for member in pack.namelist():
                    yield f"{key}:{member}", member.encode() + b"\n" + pack.read(member)
        elif key.endswith(".gz"):
            yield key, gzip.decompress(content)
        yield key, content


def files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every file of the home directory, with its name."""
    for path in sorted(settings.home.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(settings.home))
            yield f"file {name}", name.encode() + b"\n" + path.read_bytes()
