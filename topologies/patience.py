"""How long to wait for what comes: one limit for all that no deadline of its own bounds."""

from __future__ import annotations

PATIENCE_S = 60.0
"""Nothing that works ever takes so long, on a machine that is slow or busy either: whoever waits polls."""
