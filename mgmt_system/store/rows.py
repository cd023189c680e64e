"""How chains, operations and the journal lie in a key-value store: keys, and values as JSON.

Keys: `chain/NAME/ID`, `operation/ID`, `journal/NUMBER`, `journal-head`, `config` (what was applied last,
without its chains), and `gate`, which every accepted request rewrites: two requests that were checked
against the same records can't both be written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import InvalidValue
from mgmt_system import journal
from mgmt_system.journal import Event, Head, JournalEntry
from mgmt_system.records import Author, ChainRecord, OperationRecord
from mgmt_system.store import Entry

T = TypeVar("T")
GATE = "gate"
CONFIG = "config"
HEAD = "journal-head"
CHAINS = "chain/"
OPERATIONS = "operation/"
JOURNAL = "journal/"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, InvalidValue)
"""What `chain` and the others here raise of JSON that is no such record."""


def chain_key(record: ChainRecord) -> str:
    return f"{CHAINS}{record.name}/{record.id}"


def operation_key(operation_id: str) -> str:
    return f"{OPERATIONS}{operation_id}"


def entry_key(seq: int) -> str:
    return f"{JOURNAL}{seq:015d}"


def chain_value(record: ChainRecord) -> str:
    return json.dumps(journal.fields(record))


def operation_value(operation: OperationRecord) -> str:
    return json.dumps(vars(operation) | {"author": vars(operation.author)})


def entry_value(entry: JournalEntry) -> str:
    event = vars(entry.event) | {"author": vars(entry.event.author)}
    return json.dumps({"seq": entry.seq, "at": entry.at, "event": event})


def config_value(config: ServiceConfig) -> str:
    return config.model_copy(update={"chains": {}}).model_dump_json()


def head_value(head: Head) -> str:
    return json.dumps(vars(head))


def chain(data: dict[str, Any]) -> ChainRecord:
    return journal.record(data)


def operation(data: dict[str, Any]) -> OperationRecord:
    return OperationRecord(**data | {"author": Author(**data["author"])})


def journal_entry(data: dict[str, Any]) -> JournalEntry:
    event = data["event"]
    changes = {key: (before, after) for key, (before, after) in event["changes"].items()}
    event |= {"author": Author(**event["author"]), "changes": changes}
    return JournalEntry(data["seq"], data["at"], Event(**event))


@lru_cache(maxsize=2048)
def told(entry: Entry, where: str) -> JournalEntry:
    """What an entry of the journal says: it never changes, and the last ones are asked for often."""
    return read(entry, journal_entry, where)


def head(data: dict[str, Any]) -> Head:
    return Head(**data)


def read(entry: Entry, make: Callable[[dict[str, Any]], T], where: str) -> T:
    """What an entry of the store holds; raises `InvalidValue` that names it."""
    try:
        return make(json.loads(entry.value))
    except UNREADABLE as error:
        raise InvalidValue(
            f"{where} is damaged: {said(entry, error)}; put a backup in its place with catenary restore"
        ) from error


def said(entry: Entry, error: Exception) -> str:
    """Why an entry can't be read."""
    text = wire.explain(error.errors()) if isinstance(error, ValidationError) else error
    return f"{entry.key} can't be read ({type(error).__name__}: {text})"
