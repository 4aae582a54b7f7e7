"""The certificate of the TLS door: self-signed, for this machine only. A real one is put in its place as a file."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.mesh import files

#: The longest life that browsers accept.
_LIFE: Final = dt.timedelta(days=825)
_RENEW_BEFORE_END: Final = dt.timedelta(days=30)
_COMMON_NAME: Final = "Tillmesh on this machine"


def ensure_certificate(folder: Path, now: dt.datetime) -> tuple[Path, Path]:
    """Paths of certificate and key in ``folder``; makes them if absent, and anew if ours is about to end."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    if not (certificate.exists() and key.exists()) or _is_ours_and_ends_soon(certificate, now):
        private = ec.generate_private_key(ec.SECP256R1())
        files.write_atomic(key, _pem(private))
        files.write_atomic(certificate, _sign(private, now).public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate, key


def _is_ours_and_ends_soon(path: Path, now: dt.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        return False  # not ours to judge: Envoy says what is wrong with it
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in names] == [
        _COMMON_NAME
    ] and certificate.not_valid_after_utc < now + _RENEW_BEFORE_END


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sign(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
    hosts = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # a client's clock may be a little behind
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
