"""The dashboard: a web page on the management system, and a client of its public REST like any other.

It runs in a process of its own, so that no browser can slow REST or the reconcile loop down.
"""
