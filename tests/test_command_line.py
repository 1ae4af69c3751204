"""The command line as a person meets it: one clear line for each error, help everywhere, JSON for programs."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import consilium
from config import __version__
from config.errors import Conflict
from tests.peers.gateway import CONSILIUM, environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    import logging
    import threading

    import structlog

    before = (list(logging.root.handlers), logging.root.level, sys.excepthook, threading.excepthook)
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONSILIUM_CONFIG", "")  # --config sets it; so it is put back

    def invoke(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(consilium.main, list(arguments), input=stdin, prog_name="consilium")

    yield invoke
    logging.root.handlers[:], level, sys.excepthook, threading.excepthook = before
    logging.root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


COMMANDS = {" ".join(path): command for path, command in walk(consilium.main)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    text = ok(run(*name.split(), "--help"))
    assert (COMMANDS[name].help or "").strip(), "a sentence on what it does"
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
            assert parameter.help, f"{parameter.opts[0]} has no help"
    assert text.startswith(f"Usage: consilium {name}")


def test_help_and_version_come_at_once_whatever_the_settings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIUM_DICOM_PORT", "nonsense")
    assert "Commands:" in ok(run("--help"))
    assert __version__ in ok(run("--version"))
    heavy = "('sqlalchemy', 'flask', 'numpy', 'pydicom', 'pynetdicom')"
    script = f"import sys, consilium; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]", "heavy imports wait until a command runs"


def test_init_is_safe_to_repeat_and_prints_the_password_once(run: Run, tmp_path: Path) -> None:
    first = ok(run("init"))
    password = re.search(r"one-time password: (\S+)", first)
    assert password and "Keep a copy" in first
    keys = (tmp_path / "home" / "keys" / "vault.json").read_bytes()
    second = ok(run("init"))
    assert "there is an administrator already" in second and "password" not in second
    assert (tmp_path / "home" / "keys" / "vault.json").read_bytes() == keys
    (admin,) = json.loads(ok(run("user", "list", "--json")))
    assert admin["login"] == "admin" and admin["role"] == "administrator" and admin["must_change_password"]


def test_init_for_a_program(run: Run, tmp_path: Path) -> None:
    done = json.loads(ok(run("init", "--json", "--admin", "root")))
    assert done["login"] == "root" and done["keys_created"] and done["home"] == str(tmp_path / "home")
    again = json.loads(ok(run("init", "--json")))
    assert again["login"] == again["password"] == "" and not again["keys_created"]


def test_init_never_replaces_lost_keys(run: Run, tmp_path: Path) -> None:
    ok(run("init"))
    file = tmp_path / "home" / "keys" / "vault.json"
    original = file.read_text()
    file.unlink()
    lost = run("init")
    assert lost.exit_code == 2 and "restore it from its copy" in lost.stderr and not file.exists()
    other = json.loads(original)
    other["pseudonym_key"] = "A" * 43 + "="
    file.write_text(json.dumps(other))
    file.chmod(0o600)
    wrong = run("init")
    assert wrong.exit_code == 2 and "is not the key file this deployment began with" in wrong.stderr


def test_nothing_is_readable_by_others(run: Run, tmp_path: Path) -> None:
    ok(run("init"))
    for path in [tmp_path / "home", *(tmp_path / "home").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_network_is_set_up_and_shown(run: Run) -> None:
    ok(run("init"))
    site = json.loads(
        ok(
            run(
                "site",
                "add",
                "R1",
                "--name",
                "ЦРБ №1",
                "--region",
                "Север",
                "--ae",
                "PACS1",
                "--ae",
                "CT1",
                "--return-dicom",
                "PACS1@10.0.0.5:104",
                "--return-mllp",
                "ris:2575",
                "--return-fhir",
                "https://f/r4",
                "--json",
            )
        )
    )
    assert site["ae_titles"] == ["CT1", "PACS1"]
    assert {r["channel"] for r in site["returns"]} == {"dicom", "mllp", "fhir"}
    ok(run("centre", "add", "C1", "--name", "Центр", "--specialty", "radiology", "--specialty", "oncology"))
    ok(run("route", "add", "ONCO", "--specialty", "oncology", "--urgency", "urgent", "--centre", "C1"))
    ok(run("user", "add", "doctor", "--role", "referrer", "--site", "R1", stdin=PASSWORD + "\n"))
    made = json.loads(
        ok(run("user", "add", "expert", "--role", "consultant", "--centre", "C1", "--one-time", "--json"))
    )
    assert len(made["password"]) >= 10 and made["must_change_password"] and made["centre"] == "C1"
    assert "ЦРБ №1" in ok(run("site", "list")) and "dicom:PACS1@10.0.0.5:104" in ok(run("site", "list"))
    assert "radiology,oncology" in ok(run("centre", "list")) or "oncology,radiology" in ok(
        run("centre", "list")
    )
    assert json.loads(ok(run("route", "list", "--json"))) == [
        {
            "called_ae": "ONCO",
            "specialty": "oncology",
            "urgency": "urgent",
            "centre": "C1",
            "profile": "clinical",
        }
    ]
    assert [u["login"] for u in json.loads(ok(run("user", "list", "--json")))] == [
        "admin",
        "doctor",
        "expert",
    ]
    token = ok(run("token", "create", "doctor")).strip()
    assert token.startswith("consilium_")
    (listed,) = json.loads(ok(run("token", "list", "doctor", "--json")))
    assert "revoked" in ok(run("token", "revoke", "doctor", str(listed["id"])))
    assert json.loads(ok(run("token", "list", "doctor", "--json"))) == []
    for change in (
        ("site", "close", "R1"),
        ("site", "open", "R1"),
        ("user", "close", "doctor"),
        ("user", "open", "doctor"),
    ):
        ok(run(*change))
    assert "one-time password of doctor: " in ok(run("user", "password", "doctor", "--one-time"))
    ok(run("user", "password", "doctor", stdin=PASSWORD + "\n"))
    ok(run("route", "remove", "ONCO"))
    for listing in ("site", "centre", "route", "user"):
        assert ok(run(listing, "list")).splitlines()[0].isupper()


def test_the_command_line_is_audited_under_its_account(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "operator")
    ok(run("init"))
    ok(run("site", "add", "R1", "--name", "x", "--ae", "A"))
    with sqlite3.connect(tmp_path / "home" / "index.db") as connection:
        rows = connection.execute("SELECT actor, action FROM audit_event ORDER BY seq").fetchall()
    connection.close()
    assert rows == [("system", "deployment.init"), ("system", "user.add"), ("cli:operator", "site.add")]


ERRORS = [
    (["site", "add", "R1", "--name", "x", "--ae", "B"], "", 1, 'site "R1" exists already'),
    (["site", "add", "R2", "--name", "x", "--ae", "A"], "", 1, "belongs to another site"),
    (
        ["site", "add", "R2", "--name", "x", "--ae", "B", "--return-dicom", "x"],
        "",
        2,
        "AETITLE@host:port",
    ),
    (["site", "add", "R2", "--name", "x"], "", 2, "Missing option '--ae'"),
    (["centre", "add", "C1", "--name", "x", "--specialty", "astrology"], "", 2, "there is no specialty"),
    (
        ["route", "add", "X", "--specialty", "radiology", "--centre", "C9"],
        "",
        1,
        "see consilium centre list",
    ),
    (["user", "add", "u", "--role", "referrer"], PASSWORD, 2, "belongs to a site"),
    (["user", "add", "u", "--role", "auditor"], "short", 2, "at least 10 characters"),
    (["user", "add", "u", "--role", "auditor"], "", 2, "at least 10 characters"),
    (["token", "create", "nobody"], "", 1, 'there is no user "nobody"'),
    (["nonsense"], "", 2, "No such command"),
    (["--config", "/nowhere.toml", "status"], "", 2, "cannot be read"),
]


def test_errors_are_one_clear_line(run: Run) -> None:
    ok(run("init"))
    ok(run("site", "add", "R1", "--name", "x", "--ae", "A"))
    for arguments, stdin, code, words in ERRORS:
        result = run(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        assert words in result.stderr and "Traceback" not in result.stderr


def test_without_init_one_is_told_to(run: Run, tmp_path: Path) -> None:
    result = run("status")
    assert result.exit_code in (1, 2) and "consilium init" in result.stderr


def test_wrong_settings_are_all_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_DICOM_PORT", "0")
    monkeypatch.setenv("CONSILIUM_HTTP_PROT", "1")
    for command in (["status"], ["settings", "--check"], ["init"]):
        result = run(*command)
        assert result.exit_code == 2 and "2 settings are wrong" in result.stderr
    monkeypatch.setenv("CONSILIUM_DICOM_PORT", "104")
    monkeypatch.delenv("CONSILIUM_HTTP_PROT")
    assert "right" in ok(run("settings", "--check")) and "dicom_port = 104" in ok(run("settings"))


def test_a_fault_of_ours_shows_places_but_no_values(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Иванов")

    ok(run("init"))
    monkeypatch.setattr("storage.condition.look", fail)
    result = run("status")
    assert result.exit_code == 1
    assert (
        "Иванов" not in result.output and "test_command_line.py" in result.stderr and "fault" in result.stderr
    )


def test_an_interruption_is_not_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    ok(run("init"))
    monkeypatch.setattr("storage.condition.look", interrupt)
    assert run("status").exit_code == consilium.INTERRUPTED


def test_a_conflict_ends_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def clash(*_: Any, **__: Any) -> None:
        raise Conflict("no")

    ok(run("init"))
    monkeypatch.setattr("storage.condition.look", clash)
    assert run("status").exit_code == 1


def test_status_of_an_empty_deployment(run: Run) -> None:
    ok(run("init"))
    condition = json.loads(ok(run("status", "--json")))
    assert condition["pending_instances"] == condition["quarantined"] == condition["packs"] == 0
    assert condition["disk_free"] > condition["disk_reserve"] == 1 << 20
    for word in ("pending", "sealed", "quarantined", "outbox", "overdue", "disk"):
        assert re.search(rf"^{word}\s", ok(run("status")), re.MULTILINE)


def test_a_full_disk_is_shouted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(run("init"))
    monkeypatch.setenv("CONSILIUM_DISK_RESERVE", str(1 << 49))
    assert "NOTHING IS ACCEPTED" in ok(run("status"))


def test_verify_of_an_empty_deployment(run: Run) -> None:
    ok(run("init"))
    assert "all is well" in ok(run("verify"))
    assert json.loads(ok(run("verify", "--json")))["intact"] is True


def test_the_installed_program_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(CONSILIUM), "--version"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert __version__ in done.stdout
