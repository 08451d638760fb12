"""The gateway's nginx with many more names, each with a pair of its own that nobody trusts until it is renewed."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.story import witness
from tests.e2e.fleet import until

ZONE = "many.internal.thinkheads.ai"
STATE = "/var/lib/certagent/certificates"
_PREPARE = """
mkdir /etc/nginx/many
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x \\
    -keyout /root/x.key -out /root/x.crt 2>&1
cp -a /etc/certagent/agent.toml /root/agent.toml
cat > /etc/nginx/conf.d/many.conf <<END
server { listen 80; server_name *.$1; include snippets/certagent-challenge.conf; }
END
for n in $(seq $2); do
    cp /root/x.crt /etc/nginx/many/$n.crt
    cp /root/x.key /etc/nginx/many/$n.key
    cat >> /etc/nginx/conf.d/many.conf <<END
server {
    listen 443 ssl; server_name n$n.$1;
    ssl_certificate /etc/nginx/many/$n.crt; ssl_certificate_key /etc/nginx/many/$n.key;
}
END
    cat >> /etc/certagent/agent.toml <<END
[[certificate]]
name = "n$n"
identifiers = ["n$n.$1"]
$3
solver = { kind = "listener", listen = "127.0.0.1:5002" }
[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/many/$n.crt"
key = "/etc/nginx/many/$n.key"
prove = ["10.0.0.153:443"]
END
done
echo address=/$1/10.0.0.153 > /etc/dnsmasq.d/many.conf
systemctl restart dnsmasq nginx
"""
_CLEAN = f"""
systemctl stop certagent-agent
cp -a /root/agent.toml /etc/certagent/agent.toml
rm -rf /etc/nginx/many /etc/nginx/conf.d/many.conf /etc/dnsmasq.d/many.conf {STATE}/n*
systemctl restart dnsmasq nginx certagent-agent
"""
_WAIT = """
state=$1 count=$2 looks=$3
until set -- "$state"/*/proven; [ $# -gt "$count" ]; do
    looks=$((looks - 1))
    [ "$looks" -gt 0 ] || { echo "only $# of $count are proven" >&2; exit 1; }
    sleep 0.1
done
"""


def sh(script: str, *words: str) -> str:
    """What a script on the gateway says."""
    return witness.inside("lxc101", "sh", "-euc", script, "sh", *words).stdout


@contextmanager
def with_many(count: int, settings: str = "") -> Iterator[None]:
    """The gateway so, `settings` in each certificate's section; its agent has yet to be restarted."""
    sh(_PREPARE, ZONE, str(count), settings)
    try:
        yield
    finally:
        sh(_CLEAN)
        until("the gateway is as before", 60, _is_well)


def _is_well() -> bool:
    try:
        return witness.certagent("lxc101", "status")[0] == 0
    except witness.Unseen:  # the agent is on its way
        return False


def wait_until_proven(count: int, seconds: int) -> None:
    """All that many, by the agent's own word on disk. One shell in the container looks: to come in from outside, again
    and again, would be much of the work."""
    sh(_WAIT, STATE, str(count), str(10 * seconds))


def reloads() -> list[float]:
    """When nginx was told to reload, by the journal of its unit; in seconds since the epoch."""
    journal = sh("journalctl -u nginx -o short-unix --no-pager")
    return [float(line.split()[0]) for line in journal.splitlines() if "Reloading nginx" in line]
