"""A headless Chromium, for tests that look at pages as their readers do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from topologies.patience import PATIENCE_S

MS = PATIENCE_S * 1000

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="needs chromium: run `tools/install.sh test`"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One, until the end."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments, timeout=MS
        )
        try:
            yield browser
        finally:
            browser.close()
