"""Who is who in a federation of real regions: the link's certificate, the regions' keys, the secret of who may drive it.

A folder of the link holds ``authority.pem`` (handed to everybody), ``link.pem`` and ``link.key``, ``driver.secret`` and
``regions/NAME.pub``: a region takes part while its public key lies there. A region's private key is made where the region
is and never leaves it. Private files have mode 0600.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetml.errors import ConfigurationError, InvalidParameter

AUTHORITY, CERTIFICATE, PRIVATE, DRIVER, REGIONS = "authority.pem", "link.pem", "link.key", "driver.secret", "regions"
DAYS = 825
"""How long a certificate holds: the longest that all common TLS stacks take."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def make_link(folder: Path, hosts: Sequence[str]) -> None:
    """Write what a link needs that answers under these names and addresses.

    The authority's own key is not kept: it signs this one certificate. Raises ConfigurationError where there is a link's
    folder already: regions trust its authority.
    """
    if (folder / PRIVATE).exists():
        raise ConfigurationError(
            f"the keys of a link are made once, {folder} holds some that regions trust; name another folder, or remove this one "
            "and hand its new authority.pem to every region"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / REGIONS).mkdir(exist_ok=True)
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    trusted = _certificate("FleetML federation", root, root, authority=True)
    link = _certificate("FleetML federation link", key, root, hosts=hosts)
    (folder / AUTHORITY).write_bytes(trusted.public_bytes(serialization.Encoding.PEM))
    (folder / CERTIFICATE).write_bytes(link.public_bytes(serialization.Encoding.PEM))
    keep(folder / PRIVATE, _pem(key))
    keep(folder / DRIVER, secrets.token_urlsafe(32).encode())


def make_region(folder: Path, name: str) -> Path:
    """Write ``NAME.key`` and ``NAME.pub``; return the public one, for the link's folder ``regions``.

    Raises InvalidParameter for a name that is no file's name, ConfigurationError for a region that has keys.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"a region's name is up to 63 letters, digits, '.', '_' and '-', got {name!r}; choose such a name"
        )
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    if private.exists():
        raise ConfigurationError(
            f"a region has one key, {private} is there; use it, or remove it and admit the new one"
        )
    key = ec.generate_private_key(ec.SECP256R1())  # it signs every request: P-384 takes ten times as long
    keep(private, _pem(key))
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a region's key. Raises ConfigurationError for a file that others may read, or that holds none."""
    try:
        key = serialization.load_pem_private_key(confidential(path), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"a region's key is the PEM file of `fleetml federation keys --region`, {path} is not: {error}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(
            f"a region's key is of an elliptic curve, {path} is not; make one: fleetml federation keys --region"
        )
    return key


def public_keys(folder: Path) -> dict[str, bytes]:
    """Return the PEM public keys of the regions that are admitted, by name; files that hold none are left out."""
    found = {}
    for path in sorted((folder / REGIONS).glob("*.pub")):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(key, ec.EllipticCurvePublicKey):
            found[path.stem] = key.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
    return found


def authority(path: Path) -> bytes:
    """Return the PEM certificate that a link is known by. Raises ConfigurationError for a file that holds none."""
    try:
        content = path.read_bytes()
        x509.load_pem_x509_certificate(content)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"a link is known by the {AUTHORITY} of its folder, {path} is none ({error}); copy it from there"
        ) from error
    return content


def confidential(path: Path) -> bytes:
    """Return what a private file holds. Raises ConfigurationError where it is missing or not its owner's alone."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"a private key is read by its owner alone, {path} has mode {path.stat().st_mode & 0o777:o}; chmod 600 it, "
                "or make a new one where others may have read it"
            )
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} must be a readable file: {error.strerror}; `fleetml federation keys` makes it"
        ) from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only process that uses a region's file; the system gives it back however the process ends. Raises ConfigurationError."""
    with path.open("r+b" if os.access(path, os.W_OK) else "rb") as file:  # NFS locks what is open for writing alone
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"a region has one node, another process uses {path}; end that one first, or make a region of its own for this one "
                "(fleetml federation keys --region)"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"a region has one node, which a lock on {path} sees to, and its file system gives none: {error.strerror}; keep the key "
                "on a disk of this machine"
            ) from error
        yield


def keep(path: Path, content: bytes) -> None:
    """Write a private file that nobody else can read at any moment. Raises OSError where it is there already."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    authority: bool = False,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """Return a certificate of a key, of an authority or of a server under `hosts`, signed by the authority's key."""
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "FleetML federation")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return made.sign(signer, hashes.SHA256())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
