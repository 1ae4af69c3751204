"""Opens what crosses the wire, once per process: the vault, the de-identification, ingest, reports and delivery."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from gateway.deidentify.engine import Engine
from gateway.deidentify.profile import load_profiles
from gateway.deidentify.residual import scrub
from gateway.delivery.deliverer import Deliverer
from gateway.ingest import Ingest
from gateway.reidentify import Reidentifier
from gateway.reports.build import Reports
from storage.database import Database
from storage.keys import Keys
from storage.opening import Storage, open_storage
from storage.quarantine import Quarantine
from storage.setup import check_keys
from storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway of one process. It holds the vault; whoever holds it can name patients."""

    storage: Storage
    keys: Keys
    vault: Vault
    quarantine: Quarantine
    engine: Engine
    ingest: Ingest
    reports: Reports
    deliverer: Deliverer
    vault_database: Database

    def clean_text(self, study_uid: str, text: str) -> str:
        """What a doctor typed about a study (pseudonymised UID), without that patient's identifiers."""
        return scrub(text, self.vault.identity_of_study(study_uid).identity)

    def close(self) -> None:
        self.vault_database.close()
        self.storage.close()


def open_gateway(settings: Settings) -> Gateway:
    """Open everything the settings name, the vault included.

    Raises
    ------
    ConfigurationError
        The settings or the key file cannot be used, or the keys are not those this deployment began with.
    """
    storage = open_storage(settings)
    keys = Keys.load(settings.vault_key_file)
    check_keys(storage.database, keys)
    vault_database = Database(settings.vault_url, tree="vault")
    vault = Vault(vault_database, keys)
    quarantine = Quarantine(
        storage.database,
        settings.quarantine_dir,
        keys,
        settings.node,
        audit=storage.audit,
        reserve=settings.disk_reserve,
    )
    profiles = load_profiles()
    engine = Engine(keys.pseudonym_key, profiles)
    ingest = Ingest(
        database=storage.database,
        spool=storage.spool,
        index=storage.index,
        vault=vault,
        quarantine=quarantine,
        engine=engine,
        consultations=storage.consultations,
        people=storage.people,
        audit=storage.audit,
        keys=keys,
    )
    families = list(dict.fromkeys(engine.pseudonyms(name) for name in profiles))
    reports = Reports(storage.database, Reidentifier(vault, families, storage.audit))
    deliverer = Deliverer(
        storage.database,
        storage.outbox,
        storage.consultations,
        storage.audit,
        reports,
        calling_ae_title=settings.dicom_ae_title,
    )
    return Gateway(storage, keys, vault, quarantine, engine, ingest, reports, deliverer, vault_database)
