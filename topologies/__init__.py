"""Mininet networks to try Catenary on, one a file. They run from the checkout, as root."""
