"""Every setting of the product: one frozen value, read once, handed to whoever needs it.

A setting comes from the environment (``CONSILIUM_`` and its name in capitals), else from one TOML file, else from
its default. Each field below carries its own documentation, unit, kind and example; validation, error messages and
``docs/settings.md`` are all made from them. `load` reports every problem at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from config import kinds
from config.checks import RULES
from config.source import About, Known, Source
from config.specialties import URGENCIES


def _setting(
    doc: str,
    kind: kinds.Kind,
    default: Any,
    *,
    unit: str = "",
    shown: str = "",
    example: str = "",
    secret: bool = False,
) -> Any:
    about = About(doc, kind, default, unit, shown, example, secret)
    return dataclasses.field(repr=not secret, metadata={"about": about})


def _default_node(known: Known) -> str:
    # A container's host name changes when it is replaced; its spool must stay its own.
    if known["database_url"].startswith("sqlite"):
        return "local"
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64].lstrip("._-") or "local"


def _default_public_url(known: Known) -> str:
    host = known["http_host"]
    return f"http://{f'[{host}]' if ':' in host else host}:{known['http_port']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, typed and checked. Made by `load`; `dataclasses.replace` makes a variant for a test."""

    # --- where ---
    home: Path = _setting(
        "Directory of everything kept on this machine: spool, temporary files, quarantine, keys, SQLite databases. "
        "Created with mode 0700.",
        kinds.path,
        lambda known: Path("~/.consilium").expanduser(),
        shown="~/.consilium",
        example='"/var/lib/consilium"',
    )
    database_url: str = _setting(
        "The index database: studies, consultations, audit. A SQLite file, or PostgreSQL for several machines.",
        kinds.database_url,
        lambda known: f"sqlite:///{known['home']}/index.db",
        shown="sqlite:///HOME/index.db",
        example='"postgresql://consilium@db.example.org/consilium"',
        secret=True,
    )
    vault_url: str = _setting(
        "The vault: which pseudonym is whom, encrypted. Always another database than the index.",
        kinds.database_url,
        lambda known: f"sqlite:///{known['home']}/vault.db",
        shown="sqlite:///HOME/vault.db",
        example='"postgresql://vault@db.example.org/vault"',
        secret=True,
    )
    vault_key_file: Path = _setting(
        "The keys of the vault, the quarantine and the pseudonyms. Without this file no identity can be given back: "
        "keep a copy, apart from the copies of the vault.",
        kinds.path,
        lambda known: known["home"] / "keys" / "vault.json",
        shown="HOME/keys/vault.json",
        example='"/etc/consilium/vault.json"',
    )
    object_store: str = _setting(
        "Where sealed packs are kept: a directory, or a bucket of an S3-compatible store.",
        kinds.object_store_url,
        lambda known: f"file://{known['home']}/objects",
        shown="file://HOME/objects",
        example='"s3://images?endpoint=s3.example.org:443&secure=1"',
    )
    s3_access_key: str = _setting(
        "Access key of the S3 store.", kinds.text, "", example='"consilium"', secret=True
    )
    s3_secret_key: str = _setting("Secret key of the S3 store.", kinds.text, "", example='"…"', secret=True)
    node: str = _setting(
        "Name of this machine among those that share the index; it owns the files of its spool. Must stay the same.",
        kinds.node_name,
        _default_node,
        shown="`local` with SQLite, else the host name",
        example='"gateway-1"',
    )

    # --- DICOM ---
    dicom_host: str = _setting(
        "Address the DICOM port listens on.", kinds.host, "127.0.0.1", example='"0.0.0.0"'
    )
    dicom_port: int = _setting("TCP port for DICOM.", kinds.Whole(1, 65535), 11112, example="104")
    dicom_ae_title: str = _setting(
        "Our own AE title: the called AE of plain C-STORE and C-ECHO, the calling AE when an opinion is returned.",
        kinds.ae_title,
        "CONSILIUM",
        example='"CONSILIUM"',
    )
    dicom_processes: int = _setting(
        "Processes that share the DICOM port.",
        kinds.Whole(1, 64),
        lambda known: min(4, os.cpu_count() or 1),
        unit="processes",
        shown="number of processors, at most 4",
        example="2",
    )
    dicom_max_associations: int = _setting(
        "Associations open at once in one process; one more is rejected with `local limit exceeded` (PS3.8 9.3.4).",
        kinds.Whole(1, 10_000),
        64,
        unit="associations",
        example="64",
    )
    dicom_max_pdu: int = _setting(
        "Largest PDU we ask a sender for (PS3.8 D.1).",
        kinds.Size(4096, 16 << 20),
        131_072,
        unit="bytes",
        example='"128 KiB"',
    )
    dicom_tls_cert: Path | None = _setting(
        "Certificate (PEM, with its chain) of the DICOM port; with it the port speaks TLS only (PS3.15 B.12).",
        kinds.optional_path,
        None,
        example='"tls/consilium.pem"',
    )
    dicom_tls_key: Path | None = _setting(
        "Private key (PEM) of `dicom_tls_cert`.", kinds.optional_path, None, example='"tls/consilium.key"'
    )
    dicom_tls_ca: Path | None = _setting(
        "Certificates (PEM) that sign the senders' certificates; with it a sender without one is refused.",
        kinds.optional_path,
        None,
        example='"tls/hospitals.pem"',
    )
    dicom_allow_plain_remote: bool = _setting(
        "Allow DICOM without TLS on an address other machines can reach, as a VPN or a TLS proxy protects the line.",
        kinds.flag,
        False,
        example="true",
    )
    private_sop_classes: tuple[str, ...] = _setting(
        "Private SOP Class UIDs accepted besides every storage SOP class of the standard.",
        kinds.uids,
        (),
        example='["1.3.12.2.1107.5.9.1"]',
    )

    # --- HTTP ---
    http_host: str = _setting(
        "Address the web server listens on.", kinds.host, "127.0.0.1", example='"0.0.0.0"'
    )
    http_port: int = _setting("TCP port for HTTP.", kinds.Whole(1, 65535), 8080, example="8080")
    http_threads: int = _setting(
        "Requests answered at once.", kinds.Whole(1, 512), 16, unit="threads", example="32"
    )
    http_public_url: str = _setting(
        "The address people type: that of the TLS proxy in front. With https, cookies are `Secure`.",
        kinds.http_url,
        _default_public_url,
        shown="http://HTTP_HOST:HTTP_PORT",
        example='"https://consilium.example.org"',
    )
    http_allow_plain_remote: bool = _setting(
        "Allow HTTP without TLS on an address other machines can reach, because the line is protected otherwise.",
        kinds.flag,
        False,
        example="true",
    )
    http_max_body: int = _setting(
        "Largest body of a request (STOW-RS); a larger one is answered 413.",
        kinds.Size(1 << 20, 1 << 40),
        1 << 30,
        unit="bytes",
        example='"2 GiB"',
    )
    session_hours: float = _setting(
        "A login ends this long after it began.",
        kinds.Number(0.05, 720),
        12.0,
        unit="hours",
        example="8",
    )
    language: str = _setting(
        "Language of pages and reports for whoever has not chosen one.",
        kinds.Choice(("en", "ru")),
        "en",
        example='"ru"',
    )

    # --- keeping ---
    seal_after: float = _setting(
        "A series is sealed into a pack once no instance has come for this long.",
        kinds.Number(0, 7 * 86400),
        60.0,
        unit="seconds",
        example="120",
    )
    seal_instances: int = _setting(
        "A series is sealed earlier once this many instances wait.",
        kinds.Whole(1, 100_000),
        2000,
        unit="instances",
        example="1000",
    )
    transcode: str = _setting(
        "Recompress pixels losslessly to HTJ2K when sealing, where decoding proves it exact; or leave them as sent.",
        kinds.Choice(("htj2k", "none")),
        "htj2k",
        example='"none"',
    )
    trust_after: float = _setting(
        "The spool keeps its copy of a sealed instance this long, for object stores that acknowledge before data is "
        "on disk.",
        kinds.Number(0, 30 * 86400),
        300.0,
        unit="seconds",
        example="900",
    )
    disk_reserve: int = _setting(
        "Free space below which nothing more is accepted (0xA700, PS3.4 B.2.3): room to end what has begun.",
        kinds.Size(0, 1 << 50),
        1 << 30,
        unit="bytes",
        example='"5 GiB"',
    )

    # --- answering and returning ---
    deadlines: Mapping[str, float] = _setting(
        "Time for an opinion, by urgency.",
        kinds.Hours(URGENCIES),
        MappingProxyType({"emergency": 2.0, "urgent": 24.0, "planned": 168.0}),
        unit="hours",
        example="{ emergency = 1, urgent = 12, planned = 72 }",
    )
    delivery_retry_base: float = _setting(
        "Pause before the second attempt to deliver an opinion; each next pause is twice as long.",
        kinds.Number(0.1, 86400),
        10.0,
        unit="seconds",
        example="30",
    )
    delivery_retry_max: float = _setting(
        "Longest pause between two attempts.",
        kinds.Number(0.1, 7 * 86400),
        3600.0,
        unit="seconds",
        example="1800",
    )

    # --- logs ---
    log_level: str = _setting(
        "Least important event that is logged.",
        kinds.Choice(("debug", "info", "warning", "error")),
        "info",
        example='"debug"',
    )
    log_format: str = _setting(
        "Lines for people, or one JSON object a line.",
        kinds.Choice(("console", "json")),
        "console",
        example='"json"',
    )

    @property
    def spool_dir(self) -> Path:
        """Pseudonymised instances not sealed yet, or sealed and not trusted yet."""
        return self.home / "spool"

    @property
    def tmp_dir(self) -> Path:
        """Files in the making; the only place besides memory where identified data passes."""
        return self.home / "tmp"

    @property
    def quarantine_dir(self) -> Path:
        """Encrypted files of what could not be proven clean."""
        return self.home / "quarantine"

    def prepare_home(self) -> None:
        """Create the home directory and its rooms, readable by their owner only."""
        rooms = (self.home, self.spool_dir, self.tmp_dir, self.quarantine_dir, self.home / "keys")
        for directory in rooms:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                directory.chmod(0o700)


def about(field: dataclasses.Field[Any]) -> About:
    """What is documented of one field of `Settings`."""
    found: About = field.metadata["about"]
    return found


FIELDS: Mapping[str, About] = MappingProxyType({f.name: about(f) for f in dataclasses.fields(Settings)})


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path
        The TOML file; by default ``$CONSILIUM_CONFIG``, else ``consilium.toml`` in the home directory if there is one.
    environ
        Variables to read instead of the process' own.

    Raises
    ------
    ConfigurationError
        Lists every problem found, each with its key, the line of the file, and an example.
    """
    variables = dict(os.environ if environ is None else environ)
    source = Source(path, variables, FIELDS)
    values: dict[str, Any] = {}
    for name, info in FIELDS.items():
        values[name] = source.value(name, info, values)
    if not source.problems:
        for rule in RULES:
            for problem in rule(values):
                source.complain(*problem)
    source.raise_problems()
    return Settings(**values)
