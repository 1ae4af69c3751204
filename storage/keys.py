"""The deployment's secret keys: one JSON file, and the authenticated encryption made with it.

The file holds AES-256 keys by id (one of them current), the key of the pseudonyms and the key of the search tokens::

    {"current": "5f0c…", "keys": {"5f0c…": "<base64>"}, "pseudonym_key": "<base64>", "search_key": "<base64>"}

Everything encrypted names the key that opens it, so a key can be replaced while the gateway runs: `Keys.rotate` adds a
new current key to the file, running processes notice, and `storage.vault.Vault.rotate` re-encrypts the rows at leisure.
The pseudonym and search keys are never rotated: pseudonyms must stay the same for as long as the studies are kept.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import struct
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from config.errors import ConfigurationError, PermanentError

log = structlog.get_logger(__name__)

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_ID_CHARACTERS = 8
CHUNK_BYTES = 1 << 20
_VALUE_FORMAT = b"\x01"
_FILE_MAGIC = b"CNSLENC1"
_SALT_BYTES = 16
_LOOK_AGAIN_AFTER = 5.0  # s between two looks at the key file


class Undecryptable(PermanentError):
    """An encrypted value was changed, moved to another row, or its key is not in the key file."""


class Keys:
    """Encrypts and decrypts values and files; safe to share between threads.

    A value is AES-256-GCM under a random 96-bit nonce (NIST SP 800-38D allows 2³² of those for one key), bound to the
    place it is kept at by its associated data, so a row copied over another does not decrypt.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._stamp = _stamp(path)
        self._use(content)

    @classmethod
    def create(cls, path: Path) -> Keys:
        """Make a new key file, readable by its owner only.

        Raises
        ------
        ConfigurationError
            The file exists: a key file is never overwritten, for with it goes every identity in the vault.
        """
        key_id = _new_id()
        content = {
            "current": key_id,
            "keys": {key_id: _encode(secrets.token_bytes(KEY_BYTES))},
            "pseudonym_key": _encode(secrets.token_bytes(KEY_BYTES)),
            "search_key": _encode(secrets.token_bytes(KEY_BYTES)),
        }
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = _write_beside(path, content)
        try:
            os.link(fresh, path)  # unlike rename, fails when the name is taken
        except FileExistsError:
            raise ConfigurationError(
                f"the key file {path} exists already; it is never overwritten, move it away to make a new one"
            ) from None
        finally:
            fresh.unlink()
        _sync_directory(path.parent)
        return cls(path, content)

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read the key file.

        Raises
        ------
        ConfigurationError
            It is missing, malformed, or others than its owner may read it.
        """
        return cls(path, _read(path))

    # --- values ---

    @property
    def current(self) -> str:
        """Id of the key new values are encrypted with."""
        self._look_again()
        return self._current

    def seal(self, plain: bytes, place: str) -> bytes:
        """Encrypt a value for one place (table, column and row key)."""
        key_id = self.current
        nonce = secrets.token_bytes(NONCE_BYTES)
        header = _VALUE_FORMAT + key_id.encode()
        return header + nonce + self._cipher(key_id).encrypt(nonce, plain, header + place.encode())

    def unseal(self, sealed: bytes, place: str) -> bytes:
        """Decrypt what `seal` made for this place.

        Raises
        ------
        Undecryptable
            Changed, moved, or encrypted with a key the file does not hold.
        """
        header = sealed[: 1 + KEY_ID_CHARACTERS]
        if header[:1] != _VALUE_FORMAT:
            raise Undecryptable(f"encrypted value of unknown format at {place.split(':')[0]}")
        nonce, body = sealed[len(header) : len(header) + NONCE_BYTES], sealed[len(header) + NONCE_BYTES :]
        try:
            return self._cipher(header[1:].decode("ascii", "replace")).decrypt(
                nonce, body, header + place.encode()
            )
        except (InvalidTag, ValueError):
            raise Undecryptable(f"an encrypted value at {place.split(':')[0]} was changed or moved") from None

    @staticmethod
    def key_of(sealed: bytes) -> str:
        """Id of the key a value was encrypted with."""
        return sealed[1 : 1 + KEY_ID_CHARACTERS].decode("ascii", "replace")

    # --- files of any size ---

    def seal_file(self, source: BinaryIO, target: BinaryIO, place: str) -> int:
        """Encrypt a stream in chunks of 1 MiB and return the number of plain bytes.

        The STREAM construction: one key per file by HKDF over a random salt; each chunk's nonce is its number and a
        flag on the last, so chunks cannot be dropped, reordered or cut off.
        """
        key_id = self.current
        salt = secrets.token_bytes(_SALT_BYTES)
        target.write(_FILE_MAGIC + key_id.encode() + salt)
        cipher = self._file_cipher(key_id, salt)
        total, number, chunk = 0, 0, source.read(CHUNK_BYTES)
        while True:
            following = source.read(CHUNK_BYTES)
            target.write(cipher.encrypt(_chunk_nonce(number, not following), chunk, place.encode()))
            total += len(chunk)
            if not following:
                return total
            number, chunk = number + 1, following

    def unseal_file(self, source: BinaryIO, target: BinaryIO, place: str) -> int:
        """Decrypt what `seal_file` made; only bytes already authenticated are written.

        Raises
        ------
        Undecryptable
            Changed, cut off, or encrypted with a key the file does not hold.
        """
        magic = source.read(len(_FILE_MAGIC))
        if magic != _FILE_MAGIC:
            raise Undecryptable(f"not an encrypted file of this product: {place.split(':')[0]}")
        key_id = source.read(KEY_ID_CHARACTERS).decode("ascii", "replace")
        cipher = self._file_cipher(key_id, source.read(_SALT_BYTES))
        total, number, chunk = 0, 0, source.read(CHUNK_BYTES + TAG_BYTES)
        while True:
            following = source.read(CHUNK_BYTES + TAG_BYTES)
            try:
                plain = cipher.decrypt(_chunk_nonce(number, not following), chunk, place.encode())
            except (InvalidTag, ValueError):
                raise Undecryptable(
                    f"an encrypted file of {place.split(':')[0]} was changed or cut off"
                ) from None
            target.write(plain)
            total += len(plain)
            if not following:
                return total
            number, chunk = number + 1, following

    # --- rotation ---

    def rotate(self) -> str:
        """Add a new current key to the file and return its id; the old ones stay, for they still open old values."""
        with self._lock:
            content = _read(self.path)
            key_id = _new_id()
            content["keys"][key_id] = _encode(secrets.token_bytes(KEY_BYTES))
            content["current"] = key_id
            fresh = _write_beside(self.path, content)
            fresh.replace(self.path)
            _sync_directory(self.path.parent)
            self._stamp = _stamp(self.path)
            self._use(content)
        return key_id

    def _use(self, content: dict[str, Any]) -> None:
        # Other threads read these without the lock: the current id is set once its cipher is there.
        self._raw = {key_id: _decode(text) for key_id, text in content["keys"].items()}
        self._ciphers = {key_id: AESGCM(raw) for key_id, raw in self._raw.items()}
        self._current: str = content["current"]
        self.pseudonym_key = _decode(content["pseudonym_key"])
        self.search_key = _decode(content["search_key"])

    def _look_again(self) -> None:
        # Another process may have rotated: its new key is taken up within seconds, without a restart.
        if time.monotonic() - self._looked_at < _LOOK_AGAIN_AFTER:
            return
        self._looked_at = time.monotonic()
        self._reload_if_changed()

    def _reload_if_changed(self) -> None:
        with self._lock:
            stamp = _stamp(self.path)
            if stamp is None or stamp == self._stamp:
                return
            try:
                self._use(_read(self.path))
                self._stamp = stamp
            except ConfigurationError as error:  # the keys in memory are still good
                log.error("keys.reload_failed", error=error)

    def _cipher(self, key_id: str) -> AESGCM:
        self._know(key_id)
        return self._ciphers[key_id]

    def _file_cipher(self, key_id: str, salt: bytes) -> AESGCM:
        self._know(key_id)
        derived = HKDF(SHA256(), KEY_BYTES, salt, b"consilium file").derive(self._raw[key_id])
        return AESGCM(derived)

    def _know(self, key_id: str) -> None:
        if key_id not in self._ciphers:
            self._reload_if_changed()
        if key_id not in self._ciphers:
            raise Undecryptable(
                f"the key {key_id!a} is not in {self.path}; restore the key file that belongs to this vault"
            )

    def __repr__(self) -> str:
        return f"Keys({str(self.path)!r}, current={self._current!r})"


def _chunk_nonce(number: int, last: bool) -> bytes:
    return struct.pack(">7xI?", number, last)


def _new_id() -> str:
    return secrets.token_hex(KEY_ID_CHARACTERS // 2)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _read(path: Path) -> dict[str, Any]:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise ConfigurationError(
                f"the key file {path} can be read by others (mode {mode & 0o777:04o}); run: chmod 600 {path}"
            )
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"there is no key file {path}; run: consilium init") from None
    except OSError as error:
        raise ConfigurationError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        content: dict[str, Any] = json.loads(text)
        secrets_of_32 = [*content["keys"].values(), content["pseudonym_key"], content["search_key"]]
        sound = content["current"] in content["keys"] and all(
            len(_decode(secret)) == KEY_BYTES for secret in secrets_of_32
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise ConfigurationError(f"the key file {path} is damaged; restore it from its copy")
    return content


def _write_beside(path: Path, content: dict[str, Any]) -> Path:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
