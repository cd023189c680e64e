"""The controller's lists over REST."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from catenary.config import SegmentConfig
from controller import rest
from tests.serving import calling, pages
from tests.unit.test_controller_conductor import CONFIG, ONE, TWO, World


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Of a controller with three switches, two chains and two segments."""
    second = SegmentConfig(master="l1", slave="l2")
    world = World(config=CONFIG.model_copy(update={"segments": {"second": second, **CONFIG.segments}}))
    world.connect(1, 2, 3)
    world.conductor.steer_all({"two": TWO, "one": ONE})
    yield calling(rest.build(world.conductor, None))
    world.conductor.fabric.stop()


@pytest.mark.parametrize(
    ("path", "names"),
    [("chains", ["one", "two"]), ("segments", ["main", "second"]), ("balancers", ["l1", "l2"])],
)
def test_lists_come_in_pages_by_name(client: TestClient, path: str, names: list[str]) -> None:
    whole = client.get(f"/v1/{path}").json()
    assert [item["name"] for item in whole] == names
    assert pages(client, f"/v1/{path}?limit=1") == [[item] for item in whole]
    assert pages(client, f"/v1/{path}?limit=2") == [whole]
    assert client.get(f"/v1/{path}", params={"after": names[0]}).json() == whole[1:]
    refused = client.get(f"/v1/{path}", params={"after": "Not a name"})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "after: 'Not a name' is no place in this list: follow the Link of the page before",
    )
