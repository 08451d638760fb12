"""The private CA's keys and certificates, made anew for every lab; and the pairs that users have before certagent."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BACKDATED_FOR = timedelta(minutes=1)
_CA_LIVES_FOR = timedelta(days=3650)
_LEAF_LIVES_FOR = timedelta(days=90)


@dataclass(frozen=True)
class Pair:
    """A certificate (with the chain above it, when it was signed by an intermediate) and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        """The certificate and what is above it, without the root."""
        chain = (self.certificate, *self.above)
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )


@dataclass(frozen=True)
class Authority:
    """The private CA: what lxc103 holds, and what the lab signs with before it starts."""

    root: Pair
    intermediate: Pair

    def issue(self, *names: str) -> Pair:
        """A server certificate of the CA for `names`, for what certagent does not look after."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _start(names[0], self.intermediate.certificate.subject, key, _LEAF_LIVES_FOR)
        builder = _for_servers(builder, names)
        certificate = builder.sign(self.intermediate.key, hashes.SHA256())
        return Pair(certificate, key, above=(self.intermediate.certificate,))


def make_authority() -> Authority:
    """A root and an intermediate, as step-ca wants them."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = _named("ThinkHeads Lab Root CA")
    root = _as_ca(_start("ThinkHeads Lab Root CA", name, root_key, _CA_LIVES_FOR), path_length=1)
    above = Pair(root.sign(root_key, hashes.SHA256()), root_key)
    below = _as_ca(_start("ThinkHeads Lab Intermediate CA", name, key, _CA_LIVES_FOR), path_length=0)
    return Authority(above, Pair(below.sign(root_key, hashes.SHA256()), key))


def make_placeholder(*names: str) -> Pair:
    """A self-signed pair: what a user puts there so that a server starts before it has a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _for_servers(_start(names[0], _named(names[0]), key, _LEAF_LIVES_FOR), names)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _start(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lives_for: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED_FOR)
        .not_valid_after(now + lives_for)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _for_servers(builder: x509.CertificateBuilder, names: tuple[str, ...]) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
    ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)


def _as_ca(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        usage, critical=True
    )
