"""Settings: defaults, sources, and every problem told at once."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from config import kinds
from config.errors import ConfigurationError
from config.settings import FIELDS, Settings, load
from config.specialties import SPECIALTIES, URGENCIES


def problems(home: Path, toml: str = "", **variables: str) -> str:
    home.mkdir(exist_ok=True)
    (home / "consilium.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(environ={"CONSILIUM_HOME": str(home)} | {f"CONSILIUM_{k}": v for k, v in variables.items()})
    return str(caught.value)


def read(home: Path, toml: str = "", **variables: str) -> Settings:
    home.mkdir(exist_ok=True)
    (home / "consilium.toml").write_text(toml, encoding="utf-8")
    return load(environ={"CONSILIUM_HOME": str(home)} | {f"CONSILIUM_{k}": v for k, v in variables.items()})


def test_nothing_given_means_one_machine_on_loopback(tmp_path: Path) -> None:
    settings = load(environ={"CONSILIUM_HOME": str(tmp_path)})
    assert settings.database_url == f"sqlite:///{tmp_path}/index.db"
    assert settings.vault_url == f"sqlite:///{tmp_path}/vault.db"
    assert settings.vault_key_file == tmp_path / "keys" / "vault.json"
    assert settings.object_store == f"file://{tmp_path}/objects"
    assert (settings.dicom_host, settings.dicom_port, settings.dicom_ae_title) == (
        "127.0.0.1",
        11112,
        "CONSILIUM",
    )
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.http_public_url == "http://127.0.0.1:8080"
    assert settings.deadlines == {"emergency": 2, "urgent": 24, "planned": 168}
    assert settings.node == "local", "a container's changing host name must not part the spool from its node"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, "dicom_port = 104\nhttp_port = 8000\n", DICOM_PORT="4242")
    assert (settings.dicom_port, settings.http_port) == (4242, 8000)


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert read(tmp_path, "dicom_port = 104", DICOM_PORT="").dicom_port == 104


def test_the_file_may_be_elsewhere_and_name_the_home(tmp_path: Path) -> None:
    file = tmp_path / "etc.toml"
    file.write_text(f'home = "{tmp_path}/var"\ndisk_reserve = "5 GiB"\n')
    for settings in (load(file, environ={}), load(environ={"CONSILIUM_CONFIG": str(file)})):
        assert settings.home == tmp_path / "var"
        assert settings.disk_reserve == 5 << 30


def test_a_file_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read"):
        load(tmp_path / "nowhere.toml", environ={})


def test_every_problem_is_told_at_once_with_its_line_and_an_example(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        'language = "ru"\n\ndicom_port = 111120\n  log_level = "loud"\nwhatever = 1\n[deadlines]\nurgent = 3\n',
        HTTP_PORT="eighty",
        HTTP_PROT="80",
    )
    assert told.startswith("6 settings are wrong:")
    assert "dicom_port" in told and "line 3" in told and "must be from 1 to 65535, not 111120" in told
    assert "line 4): must be one of debug, info, warning, error" in told
    assert "whatever" in told and "line 5): there is no such setting" in told
    assert "line 6): must give hours for each of emergency, urgent, planned" in told
    assert 'CONSILIUM_HTTP_PORT: must be a whole number from 1 to 65535, not "eighty"' in told
    assert "CONSILIUM_HTTP_PROT: there is no such setting; did you mean CONSILIUM_HTTP_PORT?" in told
    assert told.count("for example: ") == 4
    assert "for example: dicom_port = 104" in told


def test_a_broken_file_is_told_with_its_place(tmp_path: Path) -> None:
    assert "not valid TOML" in problems(tmp_path, "dicom_port = = 1")
    assert "line 1" in problems(tmp_path, "dicom_port = = 1")


def test_variables_of_linked_services_are_not_ours(tmp_path: Path) -> None:
    read(
        tmp_path,
        SERVICE_HOST="10.0.0.1",
        SERVICE_PORT_HTTP="80",
        PORT="tcp://10.0.0.1:80",
        WEB_PORT_80_TCP_ADDR="10.0.0.1",
    )


@pytest.mark.parametrize("name", [n for n, a in FIELDS.items() if a.secret])
def test_a_secret_may_be_in_a_file_and_is_never_shown(tmp_path: Path, name: str) -> None:
    value = "s3cr3t-value" if name.startswith("s3") else f"postgresql://user:s3cr3t-value@host/{name}"
    (tmp_path / "secret").write_text(value + "\n")
    settings = read(tmp_path, **{f"{name.upper()}_FILE": str(tmp_path / "secret")})
    assert "s3cr3t-value" in getattr(settings, name)
    assert "s3cr3t-value" not in repr(settings)


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    told = problems(
        tmp_path, DATABASE_URL="mysql://u:s3cr3t@h/d", OBJECT_STORE="s3://u:s3cr3t@b?endpoint=h:1"
    )
    assert "s3cr3t" not in told and told.count("must ") >= 2


def test_relative_paths_count_from_the_home(tmp_path: Path) -> None:
    settings = read(tmp_path, 'vault_key_file = "k.json"\ndatabase_url = "sqlite:///db/i.db"')
    assert settings.vault_key_file == tmp_path / "k.json"
    assert settings.database_url == f"sqlite:///{tmp_path}/db/i.db"


def test_postgresql_means_psycopg_3(tmp_path: Path) -> None:
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        settings = read(tmp_path, DATABASE_URL=f"{scheme}://u@h:5432/db")
        assert settings.database_url == "postgresql+psycopg://u@h:5432/db"
        assert settings.node != ""
    assert read(tmp_path, DATABASE_URL="postgresql://u@/db?host=/run/pg").database_url.endswith(
        "/db?host=/run/pg"
    )


@pytest.mark.parametrize(
    ("toml", "key", "words"),
    [
        ('dicom_host = "0.0.0.0"', "dicom_host", "in clear"),
        ('http_host = "0.0.0.0"', "http_public_url", "https://"),
        ('dicom_tls_cert = "consilium.toml"', "dicom_tls_key", "missing although dicom_tls_cert"),
        ('dicom_tls_key = "consilium.toml"', "dicom_tls_cert", "missing although dicom_tls_key"),
        ('dicom_tls_ca = "consilium.toml"', "dicom_tls_cert", "missing although dicom_tls_ca"),
        ('dicom_tls_cert = "no.pem"\ndicom_tls_key = "consilium.toml"', "dicom_tls_cert", "does not exist"),
        ("http_port = 11112", "http_port", "dicom_port uses already"),
        ('vault_url = "sqlite:///index.db"', "vault_url", "another database"),
        ('object_store = "s3://bucket?endpoint=h:1"', "s3_access_key", "missing although object_store"),
        (
            "delivery_retry_base = 100\ndelivery_retry_max = 10",
            "delivery_retry_max",
            "below delivery_retry_base",
        ),
        ("deadlines = { emergency = 3, urgent = 2, planned = 9 }", "deadlines", "grow with urgency"),
    ],
)
def test_settings_that_do_not_fit_each_other(tmp_path: Path, toml: str, key: str, words: str) -> None:
    told = problems(tmp_path, toml)
    assert words in told
    assert re.search(rf"- {key}\b", told)
    assert "for example: " in told


@pytest.mark.parametrize(
    "toml",
    [
        'dicom_host = "0.0.0.0"\ndicom_allow_plain_remote = true',
        'dicom_host = "0.0.0.0"\ndicom_tls_cert = "consilium.toml"\ndicom_tls_key = "consilium.toml"',
        'http_host = "::"\nhttp_allow_plain_remote = true',
        'http_host = "0.0.0.0"\nhttp_public_url = "https://consilium.example.org/"',
        'dicom_host = "localhost"\nhttp_host = "::1"',
        'object_store = "s3://bucket?endpoint=h:1"\ns3_access_key = "a"\ns3_secret_key = "b"',
    ],
)
def test_what_is_said_openly_is_allowed(tmp_path: Path, toml: str) -> None:
    read(tmp_path, toml)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(environ={"CONSILIUM_HOME": str(tmp_path)})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.dicom_port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.deadlines["urgent"] = 1  # type: ignore[index]


def test_the_home_is_private(tmp_path: Path) -> None:
    settings = load(environ={"CONSILIUM_HOME": str(tmp_path / "home")})
    (tmp_path / "home").mkdir(mode=0o755)
    settings.prepare_home()
    settings.prepare_home()
    for directory in (settings.home, settings.spool_dir, settings.tmp_dir, settings.quarantine_dir):
        assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", FIELDS)
def test_each_setting_is_documented_and_its_example_is_right(tmp_path: Path, name: str) -> None:
    about = FIELDS[name]
    assert about.doc.endswith(".") and about.example
    (value,) = tomllib.loads(f"x = {about.example}").values()
    about.kind(value)
    if name not in {"home", "deadlines"} and not isinstance(value, list):
        about.kind(str(value))
    if callable(about.default):
        assert about.shown
    elif about.default not in (None, ""):
        assert about.kind(about.default) == about.default


def test_numbers_carry_their_unit() -> None:
    for name, about in FIELDS.items():
        if (
            isinstance(about.kind, kinds.Whole | kinds.Number | kinds.Size | kinds.Hours)
            and "port" not in name
        ):
            assert about.unit, name


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (kinds.Whole(1, 9), {"3": 3, 3: 3, " 9 ": 9}, ["0", "10", "x", "", True, 1.5, "1.5"]),
        (kinds.Number(0, 2), {"1.5": 1.5, 0: 0.0}, ["-1", "3", "nan", "inf", "x", True]),
        (
            kinds.Size(1, 1 << 40),
            {"64 MiB": 64 << 20, "2GB": 2 * 10**9, 5: 5, "7 B": 7},
            ["0", "1.5 GB", "x", "1 TB 2"],
        ),
        (kinds.Choice(("a", "b")), {"a": "a"}, ["A", "c", ""]),
        (kinds.flag, {True: True, "yes": True, "0": False, "OFF": False}, ["maybe", "", 2]),
        (kinds.text, {" a ": "a"}, ["a\nb", "\0", 3]),
        (
            kinds.host,
            {"127.0.0.1": "127.0.0.1", "[::1]": "::1", "db.local": "db.local"},
            ["a b", "1.2.3", "-x", ""],
        ),
        (kinds.ae_title, {" PACS 1 ": "PACS 1"}, ["", "A" * 17, "A\\B", "ПАКС"]),
        (kinds.uids, {"1.2, 1.3,1.2": ("1.2", "1.3")}, ["1.02", "x", "1." + "2" * 64]),
        (kinds.http_url, {"https://a/b/": "https://a/b"}, ["ftp://a", "a", "https://a?b"]),
        (
            kinds.object_store_url,
            {"file:///a": "file:///a"},
            ["file://a/b", "s3://b", "s3://B?endpoint=h", "/a"],
        ),
        (
            kinds.database_url,
            {"sqlite:////a": "sqlite:////a"},
            ["sqlite://", "mysql://h/d", "postgresql://h", "x"],
        ),
        (kinds.node_name, {"gw-1": "gw-1"}, ["", "a b", "-a", "a" * 65]),
    ],
)
def test_kinds(kind: kinds.Kind, right: dict[Any, Any], wrong: list[Any]) -> None:
    for raw, value in right.items():
        assert kind(raw) == value
    for raw in wrong:
        with pytest.raises(ValueError, match="must"):
            kind(raw)


def test_there_are_21_specialties_in_two_languages() -> None:
    assert len(SPECIALTIES) == 21
    assert len({s.en for s in SPECIALTIES.values()}) == len({s.ru for s in SPECIALTIES.values()}) == 21
    for code, specialty in SPECIALTIES.items():
        assert re.fullmatch(r"[a-z-]{1,32}", code) and specialty.code == code
        assert re.fullmatch(r"[А-Яа-яё -]+", specialty.ru)
        assert (specialty.name("ru"), specialty.name("ru-RU"), specialty.name("en")) == (
            specialty.ru,
            specialty.ru,
            specialty.en,
        )
    assert URGENCIES == ("emergency", "urgent", "planned")
