"""What is written from the code: reference, JSON schema, manual page, completion of shells.

`make docs` writes it, and a test holds that it is what the code says. A page is a function without
arguments; `PAGES` says where it goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import typer
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from typer.cli import get_docs_for_click
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from catenary import chain, cli, config, durations
from catenary.callers import Callers
from catenary.traffic import ChainTraffic, CoolDownProgress, SegmentTraffic, TrafficSample
from catenary.wire import BalancerStats, Model, PairStats, RuleView, SwitchView
from controller import metrics as controller_metrics
from controller import rest as controller
from lb_adapter import metrics as balancer_metrics
from lb_adapter import rest as balancer
from lb_adapter.counters import meanings
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from lb_adapter.standby_roles import MasterStandby
from mgmt_system import metrics as management_metrics
from mgmt_system import rest as management
from tools import manpage

ROOT = Path(__file__).parents[1]
MARK = "<!-- Written by `make docs` from the code: change that, not this. -->\n"
REST = """\
[Services](../reference.md#services) says where they listen, and what holds for all calls: tokens, request
IDs, errors. What has a question mark may be null or left out. A name is 1 to 40 of a-z, 0-9 and '-', not at
the ends. Times are seconds, moments seconds since the epoch."""
CONFIGURATION = """\
The keys of `service.yaml`, by the [JSON schema](../service.schema.json) that editors can check it with;
[an example](../service.yaml). Unknown keys are refused, with file and line. A name is 1 to 40 of a-z, 0-9
and '-', not at the ends; a duration `60s`, `5m`, `1h30m`, or a number of seconds."""
METRICS = """\
What is counted and measured, where it is read, and in which unit. `GET /v1/traffic` and `GET /v1/status`
are calls of the management system, `GET /v1/stats` of a load balancer, `GET /v1/topology` and
`GET /v1/chains/{name}/rules` of the controller. `catenary status` prints the counters that are not 0,
`catenary top` the traffic. What Prometheus gets of it stands last."""
COUNTED = """\
What `counters` has, and `GET /v1/status` by load balancer. Each counts packets, unless it speaks of sessions,
since the tables were made: a daemon that restarts and adopts them counts on. Every packet that is dropped is
counted by one `drop_...`. Rules are those of [affinity](../ARCHITECTURE.md#affinity)."""
PROMETHEUS = """\
`GET /metrics` of each service, in the text format of Prometheus; it asks for the service's token. A name that
ends in `_total` is a counter, any other a gauge; what is a question is 1 (yes) or 0 (no). Sessions and
traffic are told once, by the load balancers and by tag pair; `catenary_management_chain_info` tells a pair's
chain. Beside these stand the `process_...` metrics of the service's process. [Operations](../operations.md)
has alerts and a dashboard."""
METRICS_OF = {
    "management system": management_metrics.METRICS,
    "controller": controller_metrics.METRICS,
    "load balancer": balancer_metrics.METRICS,
}
CALLERS = Callers()
"""Pages of services that ask for a token."""
_KINDS = {f"^{chain.NAME}$": "name", durations.PATTERN: "duration"}


def commands() -> str:
    """As `--help` has it, one command after the other."""
    command: Any = typer.main.get_command(cli.build())
    context = typer.Context(command, info_name="catenary")
    text = get_docs_for_click(obj=command, ctx=context, name="catenary", title="Commands")
    # What stands below anyway, and what all have.
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
    text = re.sub(r"\* `--(help|install-completion|show-completion)`: .*\n", "", text)
    text = text.replace("**Options**:\n\n\n", "")
    return f"{MARK}\n{text.rstrip()}\n"


def manual() -> str:
    return manpage.page(typer.main.get_command(cli.build()))


def completion(shell: str) -> str:
    """What a shell reads to complete our command line: it asks the command itself."""
    return get_completion_script(prog_name="catenary", complete_var="_CATENARY_COMPLETE", shell=shell) + "\n"


def rest() -> str:
    """All calls of all services, and the models of their bodies."""
    services: dict[str, dict[str, FastAPI]] = {
        "Management system": {"": management.create(Mock(), CALLERS)},
        "Controller": {"": controller.build(Mock(), CALLERS)},
        "Load balancer": {
            "master": balancer.build(Mock(spec=Master), CALLERS),
            "standby": balancer.build(Mock(spec=MasterStandby), CALLERS),
            "slave": balancer.build(Mock(spec=Slave), CALLERS),
        },
    }
    models: dict[str, Any] = {}
    lines = [
        MARK,
        "# REST",
        "",
        REST,
    ]
    for name, apps in services.items():
        pages = {role: app.openapi() for role, app in apps.items()}
        for page in pages.values():
            models |= page["components"]["schemas"]
        lines += ["", f"## {name}", *_calls(pages)]
    lines += ["", "## Models", *_models(models)]
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """Every key of `service.yaml`."""
    schema = config.schema()
    lines = [
        MARK,
        "# Configuration",
        "",
        CONFIGURATION,
        "",
        f"## {schema['title']}",
        *_model(schema),
        *_models(schema["$defs"], level=2),
    ]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every counter, and the fields of what tells of traffic."""
    lines = [MARK, "# Metrics", "", METRICS, "", "## Load balancer: `GET /v1/stats`"]
    lines += _fields(BalancerStats, PairStats)
    lines += ["", "### Counters", "", COUNTED]
    lines += _table(("counter", "meaning"), [(f"`{name}`", text) for name, text in meanings().items()])
    lines += ["", "## Management system: `GET /v1/traffic`"]
    lines += _fields(TrafficSample, SegmentTraffic, ChainTraffic, CoolDownProgress)
    lines += ["", "## Controller: `GET /v1/topology`, `GET /v1/chains/{name}/rules`"]
    lines += _fields(SwitchView, RuleView)
    lines += ["", "## Prometheus: `GET /metrics`", "", PROMETHEUS]
    for name, service in METRICS_OF.items():
        rows = [(f"`{it.name}`", ", ".join(f"`{label}`" for label in it.labels), it.help) for it in service]
        lines += ["", f"### Metrics of the {name}", *_table(("metric", "labels", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def _fields(*models: type[Model]) -> Iterable[str]:
    """Models in this order, and then what they consist of."""
    _, schema = models_json_schema([(model, "serialization") for model in models])
    known: dict[str, Any] = schema["$defs"]
    for name in dict.fromkeys([*(model.__name__ for model in models), *known]):
        yield from ("", f"### {name}", *_model(known[name]))


def schema() -> str:
    return json.dumps(config.schema(), indent=2) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/commands.md": commands,
    "docs/reference/rest.md": rest,
    "docs/reference/configuration.md": configuration,
    "docs/reference/metrics.md": metrics,
    "docs/service.schema.json": schema,
    "deploy/man/catenary.1": manual,
    "deploy/completion/catenary.bash": partial(completion, "bash"),
    "deploy/completion/_catenary": partial(completion, "zsh"),
    "deploy/completion/catenary.fish": partial(completion, "fish"),
}


def _calls(pages: dict[str, Any]) -> Iterable[str]:
    """The calls of a service, by tag; of one with roles each says which."""
    calls: dict[str, dict[tuple[str, str], tuple[Any, list[str]]]] = {}
    texts: dict[str, str] = {}
    for role, page in pages.items():
        texts |= {tag["name"]: tag["description"] for tag in page["tags"]}
        for path, methods in page["paths"].items():
            for method, call in methods.items():
                of_tag = calls.setdefault(call["tags"][0], {})
                of_tag.setdefault((path, method), (call, []))[1].append(role)
    for tag, text in texts.items():
        yield from ("", f"### {tag.capitalize()}", "", text)
        for (path, method), (call, roles) in calls[tag].items():
            only = f" ({roles[0]})" if len(roles) < len(pages) else ""
            yield from ("", f"#### `{method.upper()} {path}`{only}", "", call["description"])
            [scheme] = call["security"]
            yield from ("", f"Role: {', '.join(*scheme.values())}.")
            yield from _parameters(call.get("parameters", []))
            yield from _traffic(call)


def _parameters(parameters: list[Any]) -> Iterable[str]:
    rows = [
        (
            f"`{p['name']}`",
            p["in"],
            _kind(p["schema"]),
            _default(p["schema"], p["required"]),
            p.get("description"),
        )
        for p in parameters
    ]
    yield from _table(("parameter", "in", "type", "default", "meaning"), rows)


def _traffic(call: dict[str, Any]) -> Iterable[str]:
    good = [(status, answer) for status, answer in call["responses"].items() if int(status) < 400]
    bad = [status for status in call["responses"] if int(status) >= 400]
    if "requestBody" in call:
        yield from ("", f"Body: {_content(call['requestBody'])}.")
    told = ", ".join(f"{status} {_content(answer)}".strip() for status, answer in good)
    yield from ("", f"Answers: {told}; problems {', '.join(bad)}.")


def _content(of: dict[str, Any]) -> str:
    for kind, content in of.get("content", {}).items():
        return _kind(content["schema"]) if kind == "application/json" else f"`{kind}`"
    return ""


def _models(models: dict[str, Any], level: int = 3) -> Iterable[str]:
    for name, model in sorted(models.items()):
        yield from ("", f"{'#' * level} {name}", *_model(model))


def _model(model: dict[str, Any]) -> Iterable[str]:
    if "description" in model:
        yield from ("", model["description"])
    if "enum" in model:
        yield from ("", f"{_kind(model)}.")
    required = model.get("required", [])
    rows = [
        (f"`{name}`", _kind(field), _default(field, name in required), field.get("description"))
        for name, field in model.get("properties", {}).items()
    ]
    yield from _table(("key", "type", "default", "meaning"), rows)
    for example in model.get("examples", []):
        yield from ("", "```json", json.dumps(example), "```")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str | None, ...]]) -> Iterable[str]:
    """A table, without columns that say nothing."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    if rows:
        yield from ("", f"| {' | '.join(head[column] for column in kept)} |", "|---" * len(kept) + "|")
    for row in rows:
        cells = [(row[column] or "").replace("\n", " ").replace("|", "\\|") for column in kept]
        yield f"| {' | '.join(cells)} |"


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = schema.get("default")
    return "" if value is None or isinstance(value, list | dict) else f"`{json.dumps(value)}`"


def _kind(schema: dict[str, Any]) -> str:
    """What fits a schema, in a few words."""
    match schema:
        case {"$ref": ref}:
            name = ref.rsplit("/", 1)[1]
            return f"[{name}](#{name.lower()})"
        case {"pattern": pattern} if pattern in _KINDS:
            return _KINDS[pattern]
        case {"format": "ipvanynetwork"}:
            return "prefix"
        case {"anyOf": [*_, {"pattern": durations.PATTERN}]}:
            return "duration"
        case {"anyOf": choices}:
            kinds = [_kind(choice) for choice in choices if choice.get("type") != "null"]
            return " or ".join(kinds) + ("?" if len(kinds) < len(choices) else "")
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "items": items}:
            return f"list of {_kind(items)}"
        case {"type": "object", "additionalProperties": dict(value)}:
            return f"map to {_kind(value)}"
        case {"type": "object", "patternProperties": dict(values)}:
            return f"map of names to {' or '.join(map(_kind, values.values()))}"
    return " ".join((schema.get("format") or schema.get("type", "any"), *_bounds(schema)))


def _bounds(schema: dict[str, Any]) -> Iterable[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    if bounds:
        yield ", ".join(bounds)
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"


def main() -> None:
    for name, page in PAGES.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page())
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
