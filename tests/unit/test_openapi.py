"""What the three services say of themselves, and that they keep to it whatever they are sent."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis import engine
from structlog.testing import capture_logs

from catenary import pcap
from catenary.roles import Role
from tests.services import SERVICES
from tests.serving import calling, knowing

CONFIG = {
    "headers": {"Host": "localhost"},  # its own name is of nobody
    "generation": {"max-examples": 5, "deterministic": True, "no-shrink": True},
    "checks": {
        # What fits the page may still be refused (422): two tags must differ, an NF must be known.
        "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "422"]},
    },
}


def faults(app: FastAPI, **generation: object) -> list[str]:
    """What Schemathesis finds in all its phases: examples, coverage, fuzzing and stateful sequences."""
    config = schemathesis.Config.from_dict(CONFIG | {"generation": CONFIG["generation"] | generation})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    found: list[str] = []
    phases = set()
    for event in engine.from_schema(schema).execute():
        match event:
            case engine.events.ScenarioFinished(phase=phase, recorder=recorder):
                phases.add(phase.name)
                for node in recorder.checks.values():
                    failed = [(check.name, check.failure_info) for check in node if check.failure_info]
                    found += [f"{name}: {info.failure}\n{info.code_sample}" for name, info in failed]
            case engine.events.FatalError() | engine.events.NonFatalError():
                found.append(str(vars(event)))
    assert {"COVERAGE", "FUZZING"} <= phases
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_keeps_to_its_page(name: str) -> None:
    with capture_logs(), SERVICES[name]() as app:
        found = faults(app)
    assert not found, "\n\n".join(found[:5])


@pytest.mark.parametrize("name", SERVICES)
def test_a_page_is_complete(name: str) -> None:
    with capture_logs(), SERVICES[name](knowing()) as app:
        page = app.openapi()
    calls = [call for methods in page["paths"].values() for call in methods.values()]
    ids = [call["operationId"] for call in calls]
    assert len(set(ids)) == len(ids)
    described = {tag["name"] for tag in page["tags"] if tag["description"]}
    schemas = page["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for call in calls:
        assert call["summary"], call
        assert call["description"].startswith(call["summary"][:20])
        assert len(call["tags"]) == 1
        assert set(call["tags"]) <= described
        [[needed]] = [scheme["token"] for scheme in call["security"]]
        assert needed in list(Role)
        assert "401" in call["responses"]
        for status, answer in call["responses"].items():
            kinds = list(answer.get("content", {}))
            assert answer["headers"]["X-Request-Id"]
            if int(status) >= 300:
                assert kinds == ["application/problem+json"], call["operationId"]
            elif status == "204":
                assert kinds == []
            else:
                assert kinds in (["application/json"], ["application/octet-stream"], [pcap.MEDIA_TYPE])
                assert all(content["schema"] for content in answer["content"].values())


@pytest.mark.parametrize("name", SERVICES)
def test_without_a_token_nothing_is_answered(name: str) -> None:
    with capture_logs(), SERVICES[name](knowing()) as app:
        client = calling(app)
        for path, methods in app.openapi()["paths"].items():
            for method in methods:
                answer = client.request(
                    method, path.format(name="chain-1", tags="2-3", operation_id="x", place="first")
                )
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
