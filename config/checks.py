"""Rules that join several settings: what is refused although each value alone is fine."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from config.specialties import URGENCIES

Problem = tuple[str, str, str]
"""The key to change, what is wrong, and an example of what would be right."""

Rule = Callable[[Mapping[str, Any]], Iterator[Problem]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address listened on."""
    if host.lower().rstrip(".") in {"localhost", "ip6-localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_files(s: Mapping[str, Any]) -> Iterator[Problem]:
    pair = {"dicom_tls_cert": "dicom_tls_key", "dicom_tls_key": "dicom_tls_cert"}
    for present, missing in pair.items():
        if s[present] and not s[missing]:
            yield missing, f"is missing although {present} is set", f'{missing} = "tls/consilium.pem"'
    if s["dicom_tls_ca"] and not (s["dicom_tls_cert"] or s["dicom_tls_key"]):
        yield (
            "dicom_tls_cert",
            "is missing although dicom_tls_ca is set",
            'dicom_tls_cert = "tls/consilium.pem"',
        )
    for key in ("dicom_tls_cert", "dicom_tls_key", "dicom_tls_ca"):
        path: Path | None = s[key]
        if path is not None and not path.is_file():
            yield key, f"names a file that does not exist ({path})", f'{key} = "/etc/consilium/tls/file.pem"'


def _dicom_in_clear(s: Mapping[str, Any]) -> Iterator[Problem]:
    if not is_loopback(s["dicom_host"]) and not s["dicom_tls_cert"] and not s["dicom_allow_plain_remote"]:
        yield (
            "dicom_host",
            f"is {s['dicom_host']}: patient data would cross the network in clear. Set dicom_tls_cert and "
            "dicom_tls_key, or say dicom_allow_plain_remote = true if a VPN or a TLS proxy protects the line",
            'dicom_host = "127.0.0.1"',
        )


def _http_in_clear(s: Mapping[str, Any]) -> Iterator[Problem]:
    if (
        not is_loopback(s["http_host"])
        and not s["http_public_url"].startswith("https://")
        and not s["http_allow_plain_remote"]
    ):
        yield (
            "http_public_url",
            f"must be the https:// address of the proxy in front, because http_host is {s['http_host']}; "
            "or say http_allow_plain_remote = true if the line is protected otherwise",
            'http_public_url = "https://consilium.example.org"',
        )


def _ports(s: Mapping[str, Any]) -> Iterator[Problem]:
    if s["dicom_port"] == s["http_port"] and s["dicom_host"] == s["http_host"]:
        yield "http_port", f"is {s['http_port']}, which dicom_port uses already", "http_port = 8080"


def _two_databases(s: Mapping[str, Any]) -> Iterator[Problem]:
    if s["database_url"] == s["vault_url"]:
        yield (
            "vault_url",
            "must name another database than database_url: identities are kept apart from images",
            'vault_url = "postgresql://vault@db.example.org/vault"',
        )


def _s3_keys(s: Mapping[str, Any]) -> Iterator[Problem]:
    if s["object_store"].startswith("s3:"):
        for key in ("s3_access_key", "s3_secret_key"):
            if not s[key]:
                yield key, "is missing although object_store is an S3 store", f"CONSILIUM_{key.upper()}=…"


def _retry(s: Mapping[str, Any]) -> Iterator[Problem]:
    if s["delivery_retry_base"] > s["delivery_retry_max"]:
        yield "delivery_retry_max", "must not be below delivery_retry_base", "delivery_retry_max = 3600"


def _deadlines(s: Mapping[str, Any]) -> Iterator[Problem]:
    hours = [s["deadlines"][urgency] for urgency in URGENCIES]
    if hours != sorted(hours):
        yield (
            "deadlines",
            f"must not grow with urgency: the order is {' ≤ '.join(URGENCIES)}",
            "deadlines = { emergency = 2, urgent = 24, planned = 168 }",
        )


RULES: tuple[Rule, ...] = (
    _tls_files,
    _dicom_in_clear,
    _http_in_clear,
    _ports,
    _two_databases,
    _s3_keys,
    _retry,
    _deadlines,
)
