"""The rules that all intrusion detection systems here share, and what each has to have otherwise in them."""

from __future__ import annotations

from pathlib import Path

SQL_INJECTION = Path(__file__).with_name("sql-injection.rules")


def written(action: str, uri: str = "http.uri") -> str:
    """The rules with this `action`; `uri` is what a tool calls the decoded URI: all that differs in them."""
    text = SQL_INJECTION.read_text().replace(" http.uri; ", f" {uri}; ")
    return "".join(
        line.replace("alert", action, 1) if line.startswith("alert ") else line
        for line in text.splitlines(keepends=True)
    )
