"""Opens what crosses the wire, once per process: the vault, the de-identification, ingest, reports and delivery.

Reports and delivery are made when first asked for: they bring half of a receiver's memory and start-up with them, and a
receiver never needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from config.settings import Settings
from gateway.deidentify.engine import Engine
from gateway.deidentify.profile import load_profiles
from gateway.deidentify.residual import scrub
from gateway.ingest import Ingest
from storage.database import Database
from storage.keys import Keys
from storage.opening import Storage, open_storage
from storage.quarantine import Quarantine
from storage.setup import check_keys
from storage.vault import Vault

if TYPE_CHECKING:
    from gateway.delivery.deliverer import Deliverer
    from gateway.reports.build import Reports


@dataclass(frozen=True)
class Gateway:
    """The gateway of one process. It holds the vault; whoever holds it can name patients."""

    storage: Storage
    keys: Keys
    vault: Vault
    quarantine: Quarantine
    engine: Engine
    ingest: Ingest
    vault_database: Database
    profiles: tuple[str, ...]

    @cached_property
    def reports(self) -> Reports:
        """Makes the documents of opinions, under real names."""
        from gateway.reidentify import Reidentifier
        from gateway.reports.build import Reports

        families = list(dict.fromkeys(self.engine.pseudonyms(name) for name in self.profiles))
        reidentifier = Reidentifier(self.vault, families, self.storage.audit)
        return Reports(self.storage.database, reidentifier)

    @cached_property
    def deliverer(self) -> Deliverer:
        """Returns opinions to their sites."""
        from gateway.delivery.deliverer import Deliverer

        storage = self.storage
        return Deliverer(
            storage.database,
            storage.outbox,
            storage.consultations,
            storage.audit,
            self.reports,
            calling_ae_title=storage.settings.dicom_ae_title,
        )

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
    return Gateway(storage, keys, vault, quarantine, engine, ingest, vault_database, tuple(profiles))
