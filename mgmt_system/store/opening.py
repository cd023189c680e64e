"""Which store is meant."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from catenary.errors import InvalidValue
from mgmt_system.store import KeyValueStore, damaged
from mgmt_system.store.access import Access
from mgmt_system.store.etcd import EtcdStore
from mgmt_system.store.gateway import SCHEME, SECURE, Endpoints


def shared(database: str, access: Access) -> Endpoints | None:
    """The nodes of etcd that are meant, None if it is a file.

    Raises `InvalidValue`, also for an `access` that would not be used.
    """
    endpoints = Endpoints.parse(database) if database.startswith((SCHEME, SECURE)) else None
    if endpoints is None and access != Access():
        raise InvalidValue(f"{database} is a file: --etcd-ca and its like are for {SECURE}HOST:PORT,...")
    if endpoints is not None and not endpoints.secure and (access.ca or access.identity):
        raise InvalidValue(f"{SCHEME} is in the clear: with certificates write {SECURE}HOST:PORT,...")
    return endpoints


def opened(database: str, url: str, access: Access = Access()) -> KeyValueStore:
    """The SQLite file of that path, or etcd if it is etcd://... or etcds://...; `url` is where others find
    this management system. Raises as `damaged.opened` and `EtcdStore` do, and `InvalidValue` for what is
    neither."""
    endpoints = shared(database, access)
    return damaged.opened(Path(database)) if endpoints is None else EtcdStore(endpoints, _check(url), access)


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
