"""The vault gives back what was put in, byte for byte, and says nothing to whoever reads its disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from config.errors import ConfigurationError, Conflict, NotFound
from storage.database import Database
from storage.keys import Keys, Undecryptable
from storage.records import Identity, InstanceFacts, OriginalUIDs
from storage.schema import now
from storage.vault import Vault, VaultBase
from tests.gateway.conftest import both_backends

NAME = "Иванова-Петрова^Мария^Ильинична".encode("iso8859_5")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.create(tmp_path / "keys" / "vault.json")


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Iterator[Database]:
    sqlite = backend == "sqlite"
    url = f"sqlite:///{tmp_path / 'vault.db'}" if sqlite else request.getfixturevalue("postgres_url")
    database = Database(url, tree="vault")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def vault(database: Database, keys: Keys) -> Vault:
    return Vault(database, keys)


def identity(name: bytes = NAME, patient_id: bytes = b"AB-0017/4", accession: bytes = b"A-77") -> Identity:
    return Identity(
        ("ISO_IR 144",),
        {
            0x00100010: ("PN", name),
            0x00100020: ("LO", patient_id),
            0x00100030: ("DA", b"19611004"),
            0x00080050: ("SH", accession),
        },
    )


def facts(study: int = 1, series: int = 1, instance: int = 1, patient: str = "P1") -> InstanceFacts:
    return InstanceFacts(
        study_instance_uid=f"2.25.{study}",
        series_instance_uid=f"2.25.{study}{series}",
        sop_instance_uid=f"2.25.{study}{series}{instance}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        patient_id=patient,
    )


def uids(study: int = 1, series: int = 1, instance: int = 1) -> OriginalUIDs:
    return OriginalUIDs(
        f"1.9.{study}",
        f"1.9.{study}.{series}",
        f"1.9.{study}.{series}.{instance}",
        "1.2.840.10008.5.1.4.1.1.2",
    )


@both_backends
def test_identity_comes_back_byte_for_byte(vault: Vault) -> None:
    vault.remember("krsk", facts(), identity(), uids())
    found = vault.identity_of_study("2.25.1")
    assert (found.site_code, found.patient_id, found.study_instance_uid) == ("krsk", "P1", "1.9.1")
    assert found.accession_number == "A-77"
    assert found.identity == identity()
    assert found.identity.text("PatientName") == "Иванова-Петрова^Мария^Ильинична"


def test_an_unknown_study_is_not_found(vault: Vault) -> None:
    with pytest.raises(NotFound):
        vault.identity_of_study("2.25.404")
    assert vault.identities_of_studies(["2.25.404"]) == {}


@both_backends
def test_the_same_again_changes_nothing(vault: Vault, database: Database) -> None:
    for _ in range(3):
        vault.remember("krsk", facts(), identity(), uids())
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM vault_instance")).scalar() == 1
        assert session.execute(text("SELECT count(*) FROM vault_study")).scalar() == 1
        assert session.execute(text("SELECT count(*) FROM vault_patient")).scalar() == 1


@pytest.mark.parametrize(("site", "patient"), [("omsk", "P1"), ("krsk", "P2")])
def test_a_study_of_another_site_or_patient_is_refused(vault: Vault, site: str, patient: str) -> None:
    vault.remember("krsk", facts(), identity(), uids())
    with pytest.raises(Conflict):
        vault.remember(site, facts(instance=2, patient=patient), identity(), uids(instance=2))
    assert set(vault.original_uids("2.25.1")) == {"2.25.111"}


@both_backends
def test_original_uids_before_during_and_after_consolidation(vault: Vault, database: Database) -> None:
    expected = {}
    for series in (1, 2):
        for instance in (1, 2, 3):
            vault.remember("krsk", facts(1, series, instance), identity(), uids(1, series, instance))
            expected[f"2.25.1{series}{instance}"] = uids(1, series, instance)
    assert vault.original_uids("2.25.1") == expected
    assert vault.consolidate("2.25.11") == 3
    assert vault.consolidate("2.25.11") == 0
    assert vault.original_uids("2.25.1") == expected
    vault.remember("krsk", facts(1, 1, 4), identity(), uids(1, 1, 4))  # a late one
    expected["2.25.114"] = uids(1, 1, 4)
    assert vault.original_uids("2.25.1") == expected
    assert vault.consolidate("2.25.11") == 1
    assert vault.original_uids("2.25.1") == expected
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM vault_instance")).scalar() == 3


def test_only_quiet_series_are_due_for_consolidation(vault: Vault) -> None:
    vault.remember("krsk", facts(), identity(), uids())
    assert vault.unconsolidated(now() - timedelta(minutes=1)) == []
    assert vault.unconsolidated(now() + timedelta(seconds=1)) == ["2.25.11"]


@pytest.mark.parametrize(
    "typed",
    [
        "Иванова",
        "иван",
        "мария ИВАН",
        "Petrova",
        "ivanova mariya",
        "Ivanova-Petrova^Maria",
        "ильинична",
        "Il'inichna",
    ],
)
def test_a_patient_is_found_by_the_beginnings_of_name_parts(vault: Vault, typed: str) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    vault.remember(
        "krsk", facts(2, patient="P2"), identity("Сидоров^Пётр".encode("iso8859_5"), b"X9"), uids(2)
    )
    assert vault.find_by_name("krsk", typed) == ["2.25.1"]


@pytest.mark.parametrize("typed", ["Сидоров", "ванова", "иванова ольга", "", "^", "%", "' OR 1=1 --"])
def test_others_are_not_found(vault: Vault, typed: str) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    assert vault.find_by_name("krsk", typed) == []


@both_backends
def test_finding_by_id_and_accession_and_only_in_ones_own_site(vault: Vault) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    vault.remember("omsk", facts(2), identity(), uids(2))
    assert vault.find_by_id("krsk", "ab0017") == ["2.25.1"]
    assert vault.find_by_id("omsk", "AB-0017/4") == ["2.25.2"]
    assert vault.find_by_id("krsk", "0017") == []
    assert vault.find_by_accession("krsk", "a77") == ["2.25.1"]
    assert vault.find("krsk", "A-77") == ["2.25.1"]
    assert vault.find("tomsk", "Иванова") == []


def test_a_new_name_is_found_and_the_old_one_too(vault: Vault) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    vault.remember("krsk", facts(2), identity("Орлова^Мария".encode("iso8859_5")), uids(2))
    assert vault.find_by_name("krsk", "Орлова") == ["2.25.2", "2.25.1"]
    assert vault.find_by_name("krsk", "Иванова") == ["2.25.2", "2.25.1"]


def test_nothing_identifying_is_readable_in_the_database(vault: Vault, database: Database) -> None:
    vault.remember("krsk", facts(), identity(b"CANARYNAME^ALPHA", b"CANARYID", b"CANARYACC"), uids())
    vault.remember("krsk", facts(1, 2), identity(b"CANARYNAME^ALPHA", b"CANARYID", b"CANARYACC"), uids())
    vault.consolidate("2.25.11")
    with database.read() as session:
        rows = [row for table in VaultBase.metadata.sorted_tables for row in session.execute(table.select())]
    raw = b"|".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)
    for secret in (b"CANARY", b"19611004", b"1.9.1", b"canary"):
        assert secret not in raw


def test_a_row_moved_to_another_study_does_not_open(vault: Vault, database: Database) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    vault.remember("krsk", facts(2, patient="P2"), identity(b"OTHER"), uids(2))
    with database.write() as session:
        session.execute(
            text(
                "UPDATE vault_study SET sealed=(SELECT sealed FROM vault_study WHERE study_instance_uid='2.25.2')"
                " WHERE study_instance_uid='2.25.1'"
            )
        )
    with pytest.raises(Undecryptable) as error:
        vault.identity_of_study("2.25.1")
    assert "OTHER" not in str(error.value)
    assert vault.identity_of_study("2.25.2").identity.raw("PatientName") == b"OTHER"


@both_backends
def test_rotation_re_encrypts_everything_while_others_read_and_write(
    vault: Vault, keys: Keys, database: Database
) -> None:
    for study in range(1, 6):
        vault.remember("krsk", facts(study), identity(), uids(study))
    vault.consolidate("2.25.11")
    elsewhere = Vault(database, Keys.load(keys.path))  # another process, holding the old key file in memory
    old, new = keys.current, keys.rotate()
    assert old != new
    vault.remember("krsk", facts(6), identity(), uids(6))
    assert elsewhere.identity_of_study("2.25.6").study_instance_uid == "1.9.6"
    # 5 studies, 4 rows of instances, 1 of a series, 1 patient were under the old key
    assert vault.rotate(at_once=2) == 11
    assert vault.rotate() == 0
    without_old = json.loads(keys.path.read_text())
    del without_old["keys"][old]
    keys.path.write_text(json.dumps(without_old))
    alone = Vault(database, Keys.load(keys.path))
    assert set(alone.identities_of_studies(f"2.25.{n}" for n in range(1, 7))) == {
        f"2.25.{n}" for n in range(1, 7)
    }
    assert alone.original_uids("2.25.1") == {"2.25.111": uids(1)}


@both_backends
def test_forgetting_a_study_and_then_the_patient(vault: Vault) -> None:
    vault.remember("krsk", facts(1), identity(), uids(1))
    vault.remember("krsk", facts(2), identity(), uids(2))
    assert vault.forget_study("2.25.1")
    assert not vault.forget_study("2.25.1")
    assert vault.original_uids("2.25.1") == {}
    assert vault.find_by_name("krsk", "Иванова") == ["2.25.2"]
    assert vault.forget_study("2.25.2")
    assert vault.find_by_name("krsk", "Иванова") == []


@both_backends
def test_many_writers_at_once(vault: Vault) -> None:
    def send(series: int) -> None:
        for instance in range(1, 6):
            vault.remember("krsk", facts(1, series, instance), identity(), uids(1, series, instance))

    threads = [threading.Thread(target=send, args=(series,)) for series in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(vault.original_uids("2.25.1")) == 20


# --- the key file ---


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "k" / "vault.json"
    first = Keys.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="exists already"):
        Keys.create(path)
    assert Keys.load(path).pseudonym_key == first.pseudonym_key
    assert [p.name for p in path.parent.iterdir()] == ["vault.json"]


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = Keys.create(tmp_path / "vault.json").path
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keys.load(path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"current": "a", "keys": {}}', '{"current": 1}'])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vault.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="damaged"):
        Keys.load(path)


def test_a_missing_key_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="consilium init"):
        Keys.load(tmp_path / "vault.json")


def test_keys_show_no_secret(keys: Keys) -> None:
    content = json.loads(keys.path.read_text())
    shown = repr(keys) + str(keys)
    assert not any(secret in shown for secret in [*content["keys"].values(), content["pseudonym_key"]])


@pytest.mark.parametrize("position", [0, 1, 5, 10, 25, -1])
def test_a_changed_value_does_not_open(keys: Keys, position: int) -> None:
    sealed = bytearray(keys.seal(b"secret", "study:1"))
    sealed[position] ^= 1
    with pytest.raises(Undecryptable):
        keys.unseal(bytes(sealed), "study:1")
    with pytest.raises(Undecryptable):
        keys.unseal(b"", "study:1")
