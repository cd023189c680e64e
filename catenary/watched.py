"""What is made of files, and made anew when they change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from catenary.errors import CatenaryError
from catenary.token import stamp

T = TypeVar("T")


class Watched(Generic[T]):
    """What `make` gives of `files`. `present` makes it anew when one of them has changed since the last time.

    Raises what `make` raises, but only at the start: a running service goes on with what was made last, and
    says so. `what` stands in its log.
    """

    def __init__(self, what: str, files: tuple[Path, ...], make: Callable[[], T], log: str) -> None:
        self._what, self._files, self._make = what, files, make
        self._log = structlog.get_logger(log)
        self._seen = self._stamps()
        self._made = make()

    def present(self) -> T:
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen
            try:
                self._made = self._make()
                self._log.info(f"{self._what} were read anew", files=", ".join(map(str, self._files)))
            except CatenaryError as error:
                self._log.error(f"{self._what} are not read anew: those read last hold", reason=error.detail)
        return self._made

    def _stamps(self) -> list[Any]:
        return [stamp(path) for path in self._files]
