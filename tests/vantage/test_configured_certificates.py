"""What the web servers' files name: certificates and resolvers, with their lines."""

from pathlib import Path

from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.foreign_files import Reading
from tests.certificates import Authority

STATIC = """\
providers:
  file:
    directory: {dynamic}
certificatesResolvers:
  step:
    acme:
      email: ops@internal
      caServer: https://ca.internal:9000/acme/acme/directory
  told:
    acme:
      caServer: https://ca.internal:9000/acme/acme/directory
      certificatesDuration: 24
  public:
    acme:
      storage: acme.json
"""


def _house(root: Path) -> ConfiguredCertificates:
    (root / "dynamic").mkdir()
    (root / "traefik.yml").write_text(STATIC.format(dynamic=root / "dynamic"))
    pair = Authority().issue("wiki.internal")
    (root / "wiki.crt").write_bytes(pair.chain_pem)
    named = f"tls: {{certificates: [{{certFile: {root}/wiki.crt, keyFile: {root}/wiki.key}}]}}\n"
    (root / "dynamic" / "wiki.yml").write_text(named)
    (root / "dynamic" / "certagent-traefik.yml").write_text(named)
    (root / "nginx.conf").write_text(
        f"http {{ server {{ server_name a.internal; ssl_certificate {root}/none.crt; ssl_certificate_key x; }} }}\n"
    )
    return ConfiguredCertificates(root / "nginx.conf", (root / "traefik.yml",))


def test_every_certificate_that_is_named_is_found(tmp_path: Path) -> None:
    """With its names, readable or not; not the one that certagent itself names."""
    first, second = _house(tmp_path).pairs().value
    assert (first.server, first.names, first.facts) == ("nginx", ("a.internal",), None)
    assert (second.server, second.certificate, second.names) == ("Traefik", f"{tmp_path}/wiki.crt", ("wiki.internal",))


def test_resolvers_are_found_at_their_lines(tmp_path: Path) -> None:
    """At the line that names the CA, or their own."""
    found = [(one.name, one.line, one.hours) for one in _house(tmp_path).resolvers().value]
    assert found == [("step", 8, None), ("told", 11, 24), ("public", 13, None)]
    assert ConfiguredCertificates(tmp_path / "none", (tmp_path / "none",)).resolvers() == Reading([])
