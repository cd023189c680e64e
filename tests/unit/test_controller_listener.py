"""Where switches connect: who is let in by TLS, two threads on one connection, and new certificates."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from typer.testing import CliRunner

from catenary import certs, cli, tls
from catenary.certs import Folder
from catenary.errors import InvalidValue
from catenary.tls import Identity
from controller.listener import HANDSHAKES, Secured, SwitchListen, admit
from tests.unit.test_tls import MALFORMED
from topologies.patience import PATIENCE_S

NOW = datetime.now(UTC)
PARTS: dict[str, list[str]] = {"controller": [], "a": []}
MUCH = bytes(range(256)) * (1 << 14)
"""4 MB: more than the buffers between the two ends hold."""
LONGEST = 1 << 14
GREETING = b"\x04\x00\x00\x08\x00\x00\x00\x01"
"""Of OpenFlow 1.3, without TLS."""

Eventually = Callable[..., None]


class Switches:
    """A listener of the controller; `taken` are the connections that it handed on."""

    def __init__(self, folder: Folder) -> None:
        own = folder.identity("controller")
        where = SwitchListen("127.0.0.1", 0, own.cert, own.key, folder.ca)
        self.taken: queue.Queue[Any] = queue.Queue()
        listening = where.bind()
        admit(listening, where.context(), lambda connection, address: self.taken.put(connection))
        self.address = listening.getsockname()

    def plain(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE_S)

    def connect(self, ca: Path, identity: Identity | None) -> ssl.SSLSocket:
        """What Open vSwitch does: whether it is let in it learns when it reads."""
        context = tls.client_context("https:", ca, identity)
        return context.wrap_socket(self.plain(), server_hostname="127.0.0.1")

    def welcome(self, ca: Path, identity: Identity) -> int:
        """The serial number of the certificate that a switch is shown, once it is let in."""
        with self.connect(ca, identity) as switch:
            shown = switch.getpeercert(binary_form=True)
            self.taken.get(timeout=PATIENCE_S).close()
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("certs")
    certs.init(path, PARTS, NOW)
    return Folder(path)


@pytest.fixture(scope="module")
def switches(folder: Folder) -> Switches:
    return Switches(folder)


def read(connection: Any, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        data = connection.recv(LONGEST)
        assert data, f"the connection ended after {len(found)} bytes"
        found += data
    return bytes(found)


def test_an_address_beyond_loopback_needs_certificates_of_both_ends(folder: Folder) -> None:
    own = folder.identity("controller")
    options = "--openflow-tls-cert, --openflow-tls-key and --openflow-tls-ca"
    with pytest.raises(InvalidValue) as caught:
        SwitchListen("192.0.2.10")
    assert caught.value.detail == (
        f"refusing to listen on 192.0.2.10 (--openflow-host): an address other than loopback needs {options}"
    )
    for some in ((own.cert, own.key, None), (own.cert, None, folder.ca), (None, None, folder.ca)):
        with pytest.raises(InvalidValue) as caught:
            SwitchListen("192.0.2.10", 6653, *some)
        assert caught.value.detail == f"TLS with switches is mutual: give all or none of {options}"
    assert SwitchListen("192.0.2.10", 6653, own.cert, own.key, folder.ca).context() is not None
    assert SwitchListen().context() is None


def test_what_can_not_be_used_is_one_clear_line(folder: Folder) -> None:
    own, absent = folder.identity("controller"), folder.path / "absent"
    network, key = folder.path / "network.yaml", folder.identity("a").key
    for given, fault in {
        ("--openflow-host", "0.0.0.0"): "refusing to listen on 0.0.0.0 (--openflow-host): ",
        ("--openflow-tls-cert", own.cert): "TLS with switches is mutual: ",
        ("--openflow-tls-cert", own.cert, "--openflow-tls-key", own.key, "--openflow-tls-ca", absent): (
            f"CA certificate {absent} can't be read: No such file or directory"
        ),
        ("--openflow-tls-cert", own.cert, "--openflow-tls-key", key, "--openflow-tls-ca", folder.ca): (
            f"certificate {own.cert} and TLS key {key} can't be used: "
        ),
    }.items():
        words = ["controller", "run", "--network", network, *given]
        done = CliRunner().invoke(cli.build(), [str(word) for word in words])
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert done.output.startswith(f"catenary controller: {fault}")


def test_who_shows_no_certificate_of_the_authority_is_refused_and_the_log_says_why(
    folder: Folder, switches: Switches, tmp_path: Path, eventually: Eventually
) -> None:
    certs.init(tmp_path / "other", PARTS, NOW)
    stranger = Folder(tmp_path / "other").identity("a")

    def refused(sent: bytes = b"", identity: Identity | None = None) -> str:
        with capture_logs() as logs:
            with suppress(OSError), switches.plain() as switch:
                port = switch.getsockname()[1]
                if sent:
                    switch.sendall(sent)
                else:
                    context = tls.client_context("https:", folder.ca, identity)
                    switch = context.wrap_socket(switch, server_hostname="127.0.0.1")
                while switch.recv(4096):
                    pass
            switch.close()
            eventually(lambda: any(entry.get("port") == port for entry in logs), what="a line in the log")
        return "".join(entry["reason"] for entry in logs if entry.get("port") == port)

    assert "did not return a certificate" in refused()
    assert "certificate verify failed" in refused(identity=stranger)
    assert "SSL" in refused(GREETING)
    switches.welcome(folder.ca, folder.identity("a"))
    assert switches.taken.empty()


@pytest.mark.parametrize("sent", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tls_keeps_no_switch_out(folder: Folder, switches: Switches, sent: bytes) -> None:
    with switches.plain() as attacker:
        attacker.sendall(sent)
        switches.welcome(folder.ca, folder.identity("a"))
        attacker.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # it may be told, or reset
            while attacker.recv(4096):
                pass
    switches.welcome(folder.ca, folder.identity("a"))


def test_those_that_say_nothing_are_sent_away_in_time(folder: Folder, switches: Switches) -> None:
    silent = [switches.plain() for _ in range(HANDSHAKES)]
    switches.welcome(folder.ca, folder.identity("a"))  # as soon as the first of them is gone
    for one in silent:
        assert one.recv(1) == b""
        one.close()


def test_certificates_are_read_anew_and_a_connection_that_stands_goes_on(
    folder: Folder, switches: Switches
) -> None:
    before = switches.welcome(folder.ca, folder.identity("a"))
    with switches.connect(folder.ca, folder.identity("a")) as standing:
        here = switches.taken.get(timeout=PATIENCE_S)
        certs.renew(folder.path, [], NOW)
        after = switches.welcome(folder.ca, folder.identity("a"))
        here.sendall(b"still here")
        assert read(standing, 10) == b"still here"
    assert before != after
    cert = folder.identity("controller").cert
    assert after == x509.load_pem_x509_certificate(cert.read_bytes()).serial_number


def test_one_thread_writes_while_the_other_end_reads_only_what_it_has_written(
    folder: Folder, switches: Switches
) -> None:
    """A switch that is busy with its own answers doesn't read: who waits for that must go on reading."""
    with switches.connect(folder.ca, folder.identity("a")) as switch:
        here = switches.taken.get(timeout=PATIENCE_S)
        here.settimeout(PATIENCE_S)
        writer = threading.Thread(target=here.sendall, args=(MUCH,))
        writer.start()
        reader = queue.SimpleQueue[bytes]()
        reading = threading.Thread(target=lambda: reader.put(read(here, len(MUCH))))
        reading.start()
        switch.sendall(MUCH)
        assert reader.get(timeout=PATIENCE_S) == MUCH
        assert read(switch, len(MUCH)) == MUCH
        writer.join()
        reading.join()
        here.close()


def test_how_a_connection_ends_is_an_end_for_os_ken(folder: Folder) -> None:
    """It asks again after an `SSLError`, so none may come: of what is garbled, or cut off."""
    own = folder.identity("controller")
    context = tls.server_context(own, folder.ca)
    for garbage in (b"", b"\x17\x03\x03\x00\x20" + bytes(32)):
        there, plain = socket.socketpair()
        with there, plain:
            handshake = threading.Thread(target=shaken, args=(there, folder, garbage))
            handshake.start()
            here = Secured(plain, context, PATIENCE_S)
            with pytest.raises(ConnectionAbortedError):
                here.recv(1)
            handshake.join()


def shaken(there: socket.socket, folder: Folder, garbage: bytes) -> None:
    """A switch that ends without a word of TLS once its handshake is over."""
    context = tls.client_context("https:", folder.ca, folder.identity("a"))
    there.settimeout(PATIENCE_S)
    secured = context.wrap_socket(there, server_hostname="127.0.0.1")
    raw = socket.socket(fileno=secured.detach())
    raw.sendall(garbage)
    raw.shutdown(socket.SHUT_WR)
    raw.close()
