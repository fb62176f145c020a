"""Certificates and keys of a federation: for SuperLink, proxy and each node."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flwr_resam.errors import requirement

_LIFETIME = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)
# As in URLs, with the underscore that names of containers have; what ends in a number is none.
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?!\d+\Z){_LABEL}", re.ASCII)


@dataclass(frozen=True)
class Keys:
    """The files of a federation in one folder.

    ``ca.pem`` goes to everybody. ``server.pem`` and ``server.key`` stay with the SuperLink,
    ``proxy.pem`` and ``proxy.key`` with the proxy in front of it, ``node-<i>`` stays with node i,
    and ``node-<i>.pub`` is registered with the SuperLink. The key of the certificate authority
    itself is not kept: make all anew rather than add to it.
    """

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate of the authority."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The SuperLink's certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The SuperLink's private key."""
        return self.folder / "server.key"

    @property
    def proxy_certificate(self) -> Path:
        """The certificate of the proxy that devices connect to."""
        return self.folder / "proxy.pem"

    @property
    def proxy_key(self) -> Path:
        """The proxy's private key."""
        return self.folder / "proxy.key"

    def node(self, partition: int) -> Path:
        """The private key of a node."""
        return self.folder / f"node-{partition}"

    def node_public(self, partition: int) -> Path:
        """The public key of a node."""
        return self.folder / f"node-{partition}.pub"


def make_keys(folder: Path, nodes: int, hosts: Sequence[str] = ("localhost",)) -> Keys:
    """Make all certificates and keys that a federation needs; private ones for the owner only.

    Parameters
    ----------
    folder : path
        Where the files go; they may not exist yet.
    nodes : int
        How many nodes get a key.
    hosts : sequence of str
        Names and addresses under which the nodes reach the proxy or the SuperLink. The loopback
        ones are always added: the ServerApp runs beside the SuperLink and reaches it there.

    Raises
    ------
    ValueError
        If a host is neither a name nor an address; no file is made then.
    FileExistsError
        If the folder holds keys already.
    """
    aliases = [_alias(host) for host in dict.fromkeys([*hosts, "localhost", "127.0.0.1"])]
    folder.mkdir(parents=True, exist_ok=True)
    keys = Keys(folder)
    authority = _private()
    issuer = _name("flwr-resam federation CA")
    ca = (
        _certificate(issuer, issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    _write(keys.ca, ca.public_bytes(Encoding.PEM))
    servers = [(keys.certificate, keys.key), (keys.proxy_certificate, keys.proxy_key)]
    for certificate_file, key_file in servers:
        server = _private()
        certificate = (
            _certificate(_name(hosts[0]), issuer, server)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(aliases), critical=False)
            .add_extension(authority_id, critical=False)
            .sign(authority, hashes.SHA256())
        )
        private = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(certificate_file, certificate.public_bytes(Encoding.PEM))
        _write(key_file, private)
    for partition in range(nodes):
        node = _private()
        secret = node.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = node.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        _write(keys.node(partition), secret)
        _write(keys.node_public(partition), public + b"\n")
    return keys


def _private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alias(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise requirement(
                "host", "be a name or an address that devices connect to, without a port",
                repr(host), "Write superlink.example or 10.0.0.1, say; what is not ASCII in its "
                "xn-- form",
            ) from None
        return x509.DNSName(host)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
