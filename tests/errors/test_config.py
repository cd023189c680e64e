"""Each file under `config` is refused with exactly the text beside it; what the schema can tell, it tells.

`shape`: refused by the published JSON schema too. `sense`: of the right shape, but impossible. `live`: can't
take the place of `docs/service.yaml` while that is in force, `failed` and `removed` once its chains are so.
`deadline`: can't take the place of itself with the chains of that one, what is left being rebalanced at a
deadline. `text`: what is no such document at all.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from catenary.chain import ChainState
from catenary.config import ServiceConfig, schema
from catenary.document import Document, check
from catenary.errors import InvalidValue
from mgmt_system.admission import Deadline
from mgmt_system.planning import Terms, decide
from mgmt_system.records import Goal

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in Path(__file__).with_name("config").glob("*/*.yaml"))
STATES = {
    "live": (ChainState.ACTIVE, Goal.PRESENT),
    "failed": (ChainState.FAILED, Goal.FAILED),
    "removed": (ChainState.REMOVED, Goal.ABSENT),
}
LIVE = [path for path in FILES if path.parent.name in STATES]
DEADLINE = [path for path in FILES if path.parent.name == "deadline"]
BAD = [path for path in FILES if path not in LIVE + DEADLINE]
SCHEMA = ROOT / "docs" / "service.schema.json"
GOOD = ROOT / "docs" / "service.yaml"


def fits(path: Path) -> bool:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    return bool(validator.is_valid(plain(path)))


def plain(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_bad_file_is_refused_with_its_text(path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        ServiceConfig.load(path.read_text(), path.name)
    assert caught.value.detail + "\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_schema_refuses_what_has_the_wrong_shape(path: Path) -> None:
    if path.parent.name != "text":
        assert fits(path) is (path.parent.name == "sense")


def refusal(path: Path, present: ServiceConfig, terms: Terms) -> str:
    """What applying a file is refused with while `present` is in force."""
    document = Document(path.read_text(), path.name)
    wanted = check(ServiceConfig, document)
    state, goal = STATES.get(path.parent.name, STATES["live"])
    records = [
        replace(record, state=state, goal=goal) for record in decide(present, present, [], TERMS).records
    ]
    return document.refusal(decide(present, wanted, records, terms).faults).detail


TERMS = Terms("op-1", 1000.0)


@pytest.mark.parametrize("path", LIVE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_change_of_what_is_live_is_refused_with_its_text(path: Path) -> None:
    assert fits(path)
    example = ServiceConfig.load(GOOD.read_text())
    assert refusal(path, example, TERMS) + "\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", DEADLINE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_end_that_sessions_can_not_have_is_refused_with_its_text(path: Path) -> None:
    assert fits(path)
    example = ServiceConfig.load(GOOD.read_text())
    present = ServiceConfig.load(path.read_text()).model_copy(update={"chains": example.chains})
    terms = replace(TERMS, deadline=Deadline(TERMS.now, TERMS.now + 60, "rebalance"))
    assert refusal(path, present, terms) + "\n" == path.with_suffix(".txt").read_text()


ODD = (
    None,
    True,
    1,
    -1,
    2.5,
    "",
    "1",
    "true",
    "60s",
    "60S",
    " 5m",
    "80-",
    "a b",
    "10.0.0.0/8",
    [],
    {},
    ["a"],
)


SCALED = {
    "mode": "act",
    "minimum": 1,
    "maximum": 1,
    "targets": {"sessions": 100, "throughput": 30.5},
    "tolerance": 0.1,
    "interval": "15s",
    "in_window": 300,
    "provisioner": {"copies": [["ids1"]], "command": ["ids", "--now"], "environment": {"REGION": "north"}},
}


def keys(node: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a document."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for part, item in parts:
        yield (*key, part)
        yield from keys(item, (*key, part))


def test_what_is_accepted_fits_the_schema() -> None:
    """With something odd in the place of each value, one at a time."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    example = plain(GOOD)
    example["segments"]["ids"] |= {"rewrites": False, "on_full": "hash", "affinity": "session"}
    example["chains"]["fw-b"]["cordoned"] = False
    example["nfs"]["fw1"]["pool"] = ["10.9.0.0/24"]
    del example["chains"]["ids-a"]
    example["autoscale"] = {"ids": copy.deepcopy(SCALED)}
    example["services"]["web"]["classifier"] = [{"protocol": "tcp", "ports": [80], "client": ["10.0.0.0/8"]}]
    accepted = 0
    for (*path, last), value in product(keys(example), ODD):
        document = copy.deepcopy(example)
        reduce(getitem, path, document)[last] = value
        with suppress(ValidationError):
            ServiceConfig.model_validate(document)
            accepted += 1
            assert validator.is_valid(document), (path, last, value)
    assert accepted > 50


def test_the_example_is_good() -> None:
    assert fits(GOOD)
    config = ServiceConfig.load(GOOD.read_text())
    assert config.segments["firewalls"].timeouts.tcp_established == 7440


def test_what_is_written_out_is_read_back_and_fits_the_schema() -> None:
    config = ServiceConfig.load(GOOD.read_text())
    written = json.loads(config.model_dump_json())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(written)
    again = ServiceConfig.model_validate(written)
    assert (again, again.revision) == (config, config.revision)


def test_the_published_schema_is_that_of_the_code() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "write it anew: catenary schema > docs/service.schema.json"
    )
