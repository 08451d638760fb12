"""The files of a node that no tree can hold, because they are minted for each lab: keys, certificates, its name."""

from deploy.lab.containers import put
from deploy.lab.fleet import Node
from deploy.lab.parts.keys import Authority, make_placeholder
from deploy.lab.rootfs import STEP_USER


def put_minted(node: Node, authority: Authority) -> None:
    """Write the node's name, the root that everybody trusts, and what its role needs."""
    put(node, "/etc/hostname", f"{node.name}\n".encode())
    put(node, "/etc/certagent/root_ca.crt", authority.root.certificate_pem)
    if needed := _BY_NODE.get(node.name):
        needed(node, authority)


def _put_authority(node: Node, authority: Authority) -> None:
    """The CA's own; its keys are on this node and nowhere else."""
    put(node, "/etc/step-ca/certs/root_ca.crt", authority.root.certificate_pem)
    put(node, "/etc/step-ca/certs/intermediate_ca.crt", authority.intermediate.certificate_pem)
    put(node, "/etc/step-ca/secrets/root_ca_key", authority.root.key_pem, 0o600)
    put(node, "/etc/step-ca/secrets/intermediate_ca_key", authority.intermediate.key_pem, 0o600, STEP_USER)


def _put_gateway(node: Node, authority: Authority) -> None:
    """nginx does not start without a pair; a self-signed one stands there until certagent has a certificate."""
    del authority
    pair = make_placeholder("nginx.internal.thinkheads.ai", "portainer.phoenix.thinkheads.ai")
    put(node, "/etc/nginx/ssl/gateway.crt", pair.certificate_pem)
    put(node, "/etc/nginx/ssl/gateway.key", pair.key_pem, 0o600)


def _put_application(node: Node, authority: Authority) -> None:
    """The application's certificate is none of certagent's."""
    pair = authority.issue("portainer.internal.thinkheads.ai")
    put(node, "/etc/nginx/ssl/application.crt", pair.certificate_pem)
    put(node, "/etc/nginx/ssl/application.key", pair.key_pem, 0o600)


_BY_NODE = {"lxc101": _put_gateway, "lxc103": _put_authority, "vm1001": _put_application}
