"""Object stores: where sealed packs live. One protocol, three implementations, one contract test for all of them."""

from storage.objects.base import ObjectStat, ObjectStore, check_key
from storage.objects.opening import open_object_store

__all__ = ["ObjectStat", "ObjectStore", "check_key", "open_object_store"]
