"""TLS between the parts: who is let in, what is refused and how it is said, and rotation under way."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from typer.testing import CliRunner

from catenary import certs, cli, tls
from catenary.certs import Folder
from catenary.errors import CatenaryError, InvalidValue, Unavailable
from catenary.listen import Listen
from catenary.part_clients import BalancerClient
from catenary.tls import Identity
from tests.services import SERVICES
from tests.serving import serving
from topologies.patience import PATIENCE_S

NOW = datetime.now(UTC)
PARTS = {"l1": ["127.0.0.1"], "ms": [], "eve": []}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    certs.init(tmp_path / "certs", PARTS, NOW)
    return Folder(tmp_path / "certs")


@contextmanager
def balancer(folder: Folder, ca: Path | None = None) -> Iterator[str]:
    """A master that wants certificates of callers."""
    own = folder.identity("l1")
    listen = Listen(port=0, tls_cert=own.cert, tls_key=own.key, tls_ca=ca or folder.ca)
    with SERVICES["master"]() as app, serving(app, listen=listen) as url:
        yield url


def health(url: str, ca: Path, identity: Identity | None) -> str:
    with BalancerClient(url, ca=ca, identity=identity, timeout=PATIENCE_S) as client:
        return client.health().segment


def serial(url: str, ca: Path, identity: Identity) -> int:
    """Of the certificate that a new connection is shown."""
    context = tls.client_context(url, ca, identity)
    where = urlsplit(url)
    with (
        socket.create_connection((where.hostname, where.port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=where.hostname) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_parts_show_each_other_certificates_of_one_ca(folder: Folder, tmp_path: Path) -> None:
    certs.init(tmp_path / "other", PARTS, NOW)
    other = Folder(tmp_path / "other")
    with balancer(folder) as url:
        assert health(url, folder.ca, folder.identity("ms")) == "main"
        for identity in (None, other.identity("ms")):
            with pytest.raises(Unavailable, match=r"it may refuse ours|certificate required|unknown ca"):
                health(url, folder.ca, identity)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            health(url, other.ca, folder.identity("ms"))
        with pytest.raises(Unavailable):
            health(url.replace("https", "http"), folder.ca, None)
        assert health(url, folder.ca, folder.identity("ms")) == "main"


def test_certificates_are_rotated_without_a_restart_and_without_a_broken_connection(folder: Folder) -> None:
    ms = folder.identity("ms")
    with balancer(folder) as url, BalancerClient(url, ca=folder.ca, identity=ms) as standing:
        before = standing.health().segment, serial(url, folder.ca, ms)
        with capture_logs() as logs:
            certs.renew(folder.path, [], NOW)
            assert standing.health().segment == before[0]
            after = serial(url, folder.ca, ms)
        assert after != before[1]
        assert after == x509.load_pem_x509_certificate(folder.identity("l1").cert.read_bytes()).serial_number
        assert "certificates were read anew" in [entry["event"] for entry in logs]


def test_the_authority_itself_can_be_replaced(folder: Folder, tmp_path: Path) -> None:
    certs.init(tmp_path / "other", PARTS, NOW)
    other = Folder(tmp_path / "other")
    old = Path(tmp_path / "old.pem")
    old.write_bytes(folder.ca.read_bytes())
    with balancer(folder) as url:
        caller = BalancerClient(url, ca=folder.ca, identity=folder.identity("ms"), timeout=PATIENCE_S)
        stranger = folder.path / "stranger.pem", folder.path / "stranger.key"
        for before, after in zip(folder.identity("ms").__dict__.values(), stranger, strict=True):
            after.write_bytes(before.read_bytes())
            after.chmod(0o600)
        for path in other.path.iterdir():
            path.replace(folder.path / path.name)
        with caller:  # it reads what is new, too
            assert caller.health().segment == "main"
        with pytest.raises(Unavailable):  # of the authority that was replaced
            health(url, folder.ca, Identity(*stranger))
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            health(url, old, folder.identity("ms"))


def test_an_expired_certificate_is_refused_at_the_start_and_kept_out_later(folder: Folder) -> None:
    own, ms = folder.identity("l1"), folder.identity("ms")
    with balancer(folder) as url:
        before = serial(url, folder.ca, ms)
        certs.renew(folder.path, ["l1"], NOW - timedelta(days=20), days=10)
        end = f"{NOW - timedelta(days=10):%Y-%m-%d %H:%M:%S} UTC"
        fault = (
            f"certificate {own.cert} expired at {end}: make another (catenary certs renew), or set the clock"
        )
        with capture_logs() as logs:
            assert serial(url, folder.ca, ms) == before
            assert health(url, folder.ca, ms) == "main"
        assert [(entry["log_level"], entry["reason"]) for entry in logs if "reason" in entry] == [
            ("error", fault)
        ]
    with pytest.raises(InvalidValue) as caught, balancer(folder):
        pass
    assert caught.value.detail == fault
    with pytest.raises(InvalidValue, match="is not valid before"):
        tls.check_dates(ms.cert, (NOW - timedelta(days=1)).timestamp())
    with capture_logs() as logs:
        tls.check_dates(ms.cert, (NOW + timedelta(days=360)).timestamp())
    assert logs[0]["event"] == "a certificate expires soon"


def test_a_caller_says_that_the_certificate_of_a_part_has_expired(folder: Folder) -> None:
    own = folder.identity("l1")
    certs.renew(folder.path, ["l1"], NOW - timedelta(days=20), days=10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # one that does not look at its own dates
    context.load_cert_chain(own.cert, own.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            plain, _ = listening.accept()
            with plain, pytest.raises(ssl.SSLError):
                context.wrap_socket(plain, server_side=True)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="certificate has expired"):
            health(f"https://127.0.0.1:{listening.getsockname()[1]}", folder.ca, None)
        thread.join()


def test_files_that_can_not_be_used_are_named_with_the_fix(folder: Folder) -> None:
    own, ms = folder.identity("l1"), folder.identity("ms")
    refused = {
        "are they PEM, and of one another?": Identity(own.cert, ms.key),
        "is no certificate in PEM form": Identity(own.key, own.key),
        "can't be read: No such file or directory": Identity(folder.path / "absent", own.key),
    }
    for fault, identity in refused.items():
        with pytest.raises(InvalidValue) as caught:
            tls.server_context(identity, None)
        assert fault in caught.value.detail
    with pytest.raises(InvalidValue, match=f"CA certificate {own.key} is no certificate in PEM form"):
        tls.server_context(own, own.key)
    own.key.chmod(0o644)
    with pytest.raises(InvalidValue) as caught:
        tls.server_context(own, None)
    assert caught.value.detail == f"TLS key {own.key} is open to others (mode 644): chmod 600 {own.key}"
    with pytest.raises(InvalidValue, match="give both or none of CATENARY_CERT and CATENARY_KEY"):
        Identity.given(own.cert, None, "CATENARY_CERT and CATENARY_KEY")
    with pytest.raises(InvalidValue, match="--tls-ca is for callers' certificates"):
        Listen(tls_ca=folder.ca)


MALFORMED = [
    b"",
    b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    bytes(range(256)) * 100,
    b"\x16\x03\x01\xff\xff" + bytes(1000),  # a record that is longer than there may be
    b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",  # a hello that never ends
    b"\x15\x03\x03\x00\x02\x02\x28" * 50,  # alerts
    b"\x17\x03\x03\x00\x10" + bytes(16),  # data before a handshake
]


@pytest.mark.parametrize("sent", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tls_harms_nobody_else(folder: Folder, sent: bytes) -> None:
    with balancer(folder) as url, capture_logs() as logs:
        where = urlsplit(url)
        with socket.create_connection((where.hostname, where.port), PATIENCE_S) as attacker:
            attacker.sendall(sent)
            assert health(url, folder.ca, folder.identity("ms")) == "main", "while it stands, too"
            attacker.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):  # it may be told, or reset
                while attacker.recv(4096):
                    pass
        assert health(url, folder.ca, folder.identity("ms")) == "main"
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


def test_the_commands_make_show_and_renew(tmp_path: Path) -> None:
    where = tmp_path / "certs"

    def run(*words: object) -> str:
        done = CliRunner().invoke(cli.build(), ["certs", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    made = json.loads(run("init", where, "--part", "l1=192.0.2.11,lb.example", "--json"))
    assert made["made"] == ["ca", "ms", "operator", "l1"]
    assert json.loads(run("init", where, "--part", "l2=192.0.2.12", "--json"))["made"] == ["l2"]
    before = (where / "l1.pem").read_bytes()
    assert json.loads(run("renew", where, "l1", "--days", 30, "--json"))["made"] == ["l1"]
    assert (where / "l1.pem").read_bytes() != before
    shown = {row["name"]: row for row in json.loads(run("show", where, "--json"))}
    assert shown["l1"]["addresses"] == ["192.0.2.11", "127.0.0.1", "::1", "lb.example", "localhost"]
    assert (shown["l1"]["days"], shown.keys()) == (29, {"l1", "l2", "ms", "operator"})
    assert {path.stat().st_mode & 0o777 for path in where.iterdir()} == {0o600}
    for words, fault in {
        "renew l9": "unknown part 'l9': ",
        "init --part l3": "'l3' is no part: write NAME=ADDRESS",
        "init --part ca=192.0.2.1": "'ca' is the name of the CA itself",
        "init --part l3=gr\u00fcn": "is no IP address and no name of a host",
    }.items():
        verb, *rest = words.split()
        with pytest.raises(CatenaryError, match=fault):
            run(verb, where, *rest)
