"""Opens everything that is kept, once per process: the one place that knows how the parts of this room fit together."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from storage.annotations import Annotations
from storage.archive import Archive
from storage.audit import Audit
from storage.consultations import Consultations
from storage.database import Database
from storage.index import Index
from storage.objects import ObjectStore, open_object_store
from storage.outbox import Outbox
from storage.people import People
from storage.sealing import Sealer
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Storage:
    """What gateway and viewer share. The vault is not part of it: `gateway.opening` holds that."""

    settings: Settings
    database: Database
    objects: ObjectStore
    spool: Spool
    index: Index
    archive: Archive
    sealer: Sealer
    people: People
    audit: Audit
    consultations: Consultations
    annotations: Annotations
    outbox: Outbox

    def close(self) -> None:
        self.database.close()


def open_storage(settings: Settings) -> Storage:
    """Open the databases, the object store and the spool the settings name; nothing is created or migrated.

    Raises
    ------
    ConfigurationError
        The settings name something unusable.
    """
    database = Database(settings.database_url)
    objects = open_object_store(settings)
    spool = Spool(settings.spool_dir, settings.disk_reserve)
    index = Index(database, settings.node, objects)
    archive = Archive(database, index, spool, objects, settings.node)
    audit = Audit(database)
    return Storage(
        settings=settings,
        database=database,
        objects=objects,
        spool=spool,
        index=index,
        archive=archive,
        sealer=Sealer(
            database,
            index,
            spool,
            objects,
            tmp_dir=settings.tmp_dir,
            node=settings.node,
            seal_after=settings.seal_after,
            seal_instances=settings.seal_instances,
            transcode=settings.transcode,
            trust_after=settings.trust_after,
        ),
        people=People(database),
        audit=audit,
        consultations=Consultations(database, audit, settings.deadlines),
        annotations=Annotations(database, audit, archive),
        outbox=Outbox(database, base=settings.delivery_retry_base, maximum=settings.delivery_retry_max),
    )
