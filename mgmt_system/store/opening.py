"""Which store is meant."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from catenary.errors import InvalidValue
from mgmt_system.store import KeyValueStore, damaged
from mgmt_system.store.etcd import EtcdStore
from mgmt_system.store.gateway import SCHEME, Endpoints


def opened(database: str, url: str) -> KeyValueStore:
    """The SQLite file of that path, or etcd if it is etcd://...; `url` is where others find this management
    system. Raises as `damaged.opened` and `EtcdStore` do, and `InvalidValue` for what is neither."""
    if database.startswith(SCHEME):
        return EtcdStore(Endpoints.parse(database), _check(url))
    return damaged.opened(Path(database))


def _check(url: str) -> str:
    """What the leader says of itself must lead to it."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and parts.hostname not in (None, "0.0.0.0", "::")
    except ValueError:
        fit = False
    if not fit:
        raise InvalidValue(
            f"{url!r} leads nobody to this management system: say with --advertise by which URL the others "
            "and operators reach it, such as http://10.0.0.1:8080"
        )
    return url.rstrip("/")
