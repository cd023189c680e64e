"""A small CA for a lab, and the certificates that it signs: one a part, for both ends of a connection.

Where there is a CA already, use its certificates: services ask for nothing but PEM files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from catenary.chain import check_name
from catenary.errors import InvalidValue, NotFound
from catenary.tls import Identity
from catenary.token import read_private, write_private

CA = "ca"
CA_DAYS, DAYS = 3650, 365
LOCAL = ("127.0.0.1", "::1", "localhost")
"""Every part may be called by these, too."""
_SKEW = timedelta(minutes=5)
"""Clocks of a lab differ."""


@dataclass(frozen=True)
class Folder:
    """Where a CA and what it has signed lie. All its files are readable by their owner only."""

    path: Path

    @property
    def ca(self) -> Path:
        return self.path / f"{CA}.pem"

    def identity(self, name: str) -> Identity:
        return Identity(self.path / f"{name}.pem", self.path / f"{name}.key")

    def names(self) -> list[str]:
        """Those that have a certificate."""
        return sorted(file.stem for file in self.path.glob("*.pem") if file.stem != CA)


def init(path: Path, parts: Mapping[str, Sequence[str]], now: datetime, days: int = DAYS) -> list[str]:
    """A CA, and a certificate for each of `parts` (name -> addresses). What is there already stays.

    The names of what was made. Raises `InvalidValue`.
    """
    for name in parts:
        if name == CA:
            raise InvalidValue(f"{CA!r} is the name of the CA itself: choose another for this part")
        check_name(name, "name of a part")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValue(f"{path} can't be made: {error.strerror}") from error
    folder = Folder(path)
    made = []
    if not folder.ca.exists():
        _make_ca(folder, now)
        made.append(CA)
    missing = {name: parts[name] for name in parts if not folder.identity(name).cert.exists()}
    for name, addresses in missing.items():
        _sign(folder, name, [*addresses, *(one for one in LOCAL if one not in addresses)], now, days)
    return made + list(missing)


def renew(path: Path, names: Iterable[str], now: datetime, days: int = DAYS) -> list[str]:
    """New keys and certificates for parts that have one, for the same addresses. None named: for all."""
    folder = Folder(path)
    known = folder.names()
    wanted = list(names) or known
    for name in wanted:
        if name not in known:
            raise NotFound(f"unknown part {name!r}: {path} has {', '.join(known) or 'none'}")
    for name in wanted:
        _sign(folder, name, addresses(folder.identity(name).cert), now, days)
    return wanted


def addresses(cert: Path) -> list[str]:
    """By which its bearer may be called."""
    found = _load(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = found.get_values_for_type(x509.DNSName)
    return [*(str(one) for one in found.get_values_for_type(x509.IPAddress)), *names]


def _make_ca(folder: Folder, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Catenary lab CA")
    made = (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write(folder.identity(CA), key, made.sign(key, hashes.SHA256()))


def _sign(folder: Folder, name: str, of: Sequence[str], now: datetime, days: int) -> None:
    ca, ca_key = _load(folder.ca), _load_key(folder.identity(CA).key)
    key = ec.generate_private_key(ec.SECP256R1())
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        _builder(_name(name), ca.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in of]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    _write(folder.identity(name), key, made.sign(ca_key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        return x509.DNSName(address)
    except ValueError as error:
        raise InvalidValue(f"{address!r} is no IP address and no name of a host") from error


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _write(identity: Identity, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
    """The key first: who sees a new certificate with an old key keeps what it has until both are there."""
    form = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    write_private(identity.key, text.decode())
    write_private(identity.cert, cert.public_bytes(serialization.Encoding.PEM).decode())


def _load(cert: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert.read_bytes())
    except OSError as error:
        raise InvalidValue(f"certificate {cert} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidValue(f"certificate {cert} is no certificate in PEM form") from error


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_private(path, "key").encode(), None)
    except (ValueError, TypeError) as error:
        raise InvalidValue(f"key {path} is no key in PEM form without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidValue(f"key {path} is of no elliptic curve: this CA was not made by catenary certs init")
    return key
