"""The vocabulary that every part of Catenary shares.

What may not happen here: no module of this package imports a service (`controller`, `lb_adapter`,
`mgmt_system`, `witness`).  `chain`, `tags`, `session`, `maglev`, `policy` and `errors` are pure: no I/O, no
clock, no framework.  Pydantic stays in `wire`; the shells that touch the world are `client` (httpx),
`service` (FastAPI, uvicorn), `libbpf` (cffi) and `cli` (Typer).
"""

__version__ = "0.1.0"
