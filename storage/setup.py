"""The first steps of a deployment, safe to repeat: directories, keys, databases, the first administrator."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import select

from config.errors import ConfigurationError
from config.settings import Settings
from storage.audit import Audit
from storage.database import Database
from storage.keys import Keys
from storage.objects import open_object_store
from storage.passwords import one_time_password
from storage.people import People
from storage.schema import Setting, User

_KEY_CHECK = "keys.check"


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `initialise` did.

    Parameters
    ----------
    keys_created
        Whether the key file is new: it needs a copy in a safe place.
    login, password
        The new administrator and the one-time password, or empty if there was an administrator already.
    """

    keys_created: bool
    login: str = ""
    password: str = ""


def initialise(settings: Settings, *, login: str = "admin") -> Initialised:
    """Make the home directory, the keys, both databases, the object store and the first administrator.

    Raises
    ------
    ConfigurationError
        The key file is missing or is another one although studies were received with it: new pseudonyms would not
        match the old, and no identity could be given back.
    """
    settings.prepare_home()
    index, vault = Database(settings.database_url), Database(settings.vault_url, tree="vault")
    try:
        index.upgrade()
        vault.upgrade()
        created = _keys(settings, index)
        objects = open_object_store(settings)
        objects.prepare()
        objects.ping()
        with index.read() as session:
            administrator = session.scalar(
                select(User.id).where(User.role == "administrator", User.active).limit(1)
            )
        if administrator is not None:
            return Initialised(created)
        password = one_time_password()
        People(index).add_user(login, "administrator", password, must_change_password=True)
        return Initialised(created, login, password)
    finally:
        index.close()
        vault.close()


def check_keys(index: Database, keys: Keys) -> None:
    """Raise `ConfigurationError` unless these are the keys the deployment was begun with."""
    with index.read() as session:
        known = session.scalar(select(Setting.value).where(Setting.name == _KEY_CHECK))
    if known is not None and not hmac.compare_digest(known, _fingerprint(keys)):
        raise ConfigurationError(
            f"{keys.path} is not the key file this deployment began with; restore that one from its copy"
        )


def _keys(settings: Settings, index: Database) -> bool:
    with index.read() as session:
        known = session.scalar(select(Setting.value).where(Setting.name == _KEY_CHECK))
    created = not settings.vault_key_file.exists()
    if created and known is not None:
        raise ConfigurationError(
            f"the key file {settings.vault_key_file} is missing, but it was there before; restore it from its copy"
        )
    keys = Keys.create(settings.vault_key_file) if created else Keys.load(settings.vault_key_file)
    check_keys(index, keys)
    if known is None:
        with index.write() as session:
            session.add(Setting(name=_KEY_CHECK, value=_fingerprint(keys)))
            Audit(index).record("deployment.init", actor="system", session=session)
    return created


def _fingerprint(keys: Keys) -> str:
    """Recognises the pseudonym key and tells nothing about it."""
    return hmac.new(keys.pseudonym_key, b"consilium: is this the same key?", hashlib.sha256).hexdigest()
