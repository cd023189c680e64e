"""The manual page catenary(1), in roff, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import typer

from catenary import __version__

MARK = r".\" Written by `make docs` from the code: change that, not this."
EXIT_STATUS = (
    ("0", "Done."),
    ("1", "An internal error, or what was asked about is not as it should be."),
    ("2", "Refused; the text names the value and the fix."),
    ("3", "Another part can't be reached: the same command may succeed later."),
    ("4", "Not supported on this host."),
)
ENVIRONMENT = (
    ("CATENARY_URL", "Address of the management system; http://127.0.0.1:8080 if not given."),
    ("CATENARY_TOKEN_FILE", "File with its token."),
    ("CATENARY_CA", "Certificate that signs its TLS certificate; else the system's authorities count."),
)


def page(command: Any) -> str:
    """Of the whole command line `command`, each command a subsection."""
    context = typer.Context(command, info_name="catenary")
    lines = [MARK, f'.TH CATENARY 1 "" "Catenary {__version__}" "Catenary"', ".SH NAME"]
    lines += [r"catenary \- scale service function chains under live traffic", ".SH SYNOPSIS"]
    lines += [r".B catenary", r".I COMMAND", r"[\fIOPTION\fR]...", ".SH DESCRIPTION", *_text(command.help)]
    lines += [".SH COMMANDS", *_commands(command, context)]
    for head, rows in (("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)):
        lines += [f".SH {head}", *_table(rows)]
    return "\n".join(lines) + "\n"


def _commands(command: Any, context: Any) -> Iterable[str]:
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        inside = typer.Context(below, info_name=name, parent=context)
        if hasattr(below, "list_commands"):
            yield from _commands(below, inside)
            continue
        yield f'.SS "{_escape(inside.command_path)}"'
        yield from _text(below.help)
        records = (item.get_help_record(inside) for item in below.params if "--help" not in item.opts)
        yield from _table(record for record in records if record is not None)


def _table(rows: Iterable[tuple[str, str]]) -> Iterable[str]:
    for term, meaning in rows:
        yield from (".TP", rf"\fB{_escape(term)}\fR", _escape(" ".join(meaning.split())))


def _text(text: str | None) -> Iterable[str]:
    """Paragraphs; what is indented stays as it is."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(text or ""))):
        if paragraph.startswith("    "):
            yield from (".RS 4", ".nf", *map(_escape, inspect.cleandoc(paragraph).splitlines()), ".fi", ".RE")
        else:
            yield from [".PP"][:number]
            yield _escape(" ".join(paragraph.split()))


def _escape(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
