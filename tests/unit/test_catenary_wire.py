"""Wire models: unknown keys refused, the vocabulary's own words in the refusal."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.wire import (
    ChainRequest,
    Change,
    OperationView,
    PairAdd,
    SweepOrder,
    Tags,
    TimeoutsModel,
    explain,
)


def refusal(model: type, body: str) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)  # type: ignore[attr-defined]
    return explain(caught.value.errors())


def sweep(limits: str) -> str:
    return f'{{"nonce": "n", "master_id": "m", "mode": "delete", {limits}}}'


@pytest.mark.parametrize(
    "model,body,text",
    [
        (Tags, '{"forward": 0, "reverse": 3}', "forward: VLAN ID 0 is out of range: use 1..4094"),
        (Tags, '{"forward": 2, "reverse": 2}', "tag pair (2, 2) uses one VLAN ID twice"),
        (ChainRequest, '{"nfs": ["n1"], "nane": "x"}', "nane: Extra inputs are not permitted (got 'x')"),
        (ChainRequest, '{"nfs": ["N 1"]}', "nfs.0: name 'N 1' is not valid"),
        (ChainRequest, '{"nfs": ["n1"], "weight": 1001}', "weight: "),
        (ChainRequest, "{}", "nfs: Field required"),
        (Change, '{"add": [{"forward": 2}]}', "add.0.reverse: Field required"),
        (TimeoutsModel, '{"lease": 0}', "timeout lease of 0"),
        (SweepOrder, '{"master_id": "m", "mode": "delete", "idle": 5}', "nonce: Field required"),
        (SweepOrder, sweep('"idle": Infinity'), "idle: "),
        (SweepOrder, sweep('"idle": -1'), "idle: "),
        (SweepOrder, sweep('"slot": 1024, "generation": 0'), "slot: "),
        (SweepOrder, sweep('"slot": 0, "generation": -1'), "generation: "),
        (SweepOrder, sweep('"slot": 1'), "slot and generation go together"),
        (SweepOrder, sweep('"generation": 1, "idle": 5'), "slot and generation go together"),
        (SweepOrder, sweep('"idle": 0'), "would end all sessions"),
    ],
)
def test_a_refusal_names_the_place_and_the_value(model: type, body: str, text: str) -> None:
    assert text in refusal(model, body)


def test_tags_and_pairs_convert_both_ways() -> None:
    assert Tags.of(TagPair(4, 5)).pair() == TagPair(4, 5)
    assert PairAdd(forward=4, reverse=5).weight == 100


def test_the_defaults_of_the_timeouts_are_declared_once_in_meaning() -> None:
    assert TimeoutsModel().timeouts() == Timeouts()


def test_messages_are_immutable() -> None:
    tags = Tags(forward=2, reverse=3)
    with pytest.raises(ValidationError):
        tags.forward = 4  # type: ignore[misc]


def test_an_operation_survives_the_wire() -> None:
    operation = OperationView(id="7", kind="add", chain="c", state="running", created=1.5)
    assert OperationView.model_validate_json(operation.model_dump_json()) == operation
