# Run inside a container, by `sh -s`: what has it got? One `key=value` a line.
echo entered=yes
echo "python=$(/usr/bin/python3 -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
echo "machine=$(uname -m)"
echo "glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)"
[ ! -d /run/systemd/system ] || echo systemd=yes
echo "layers=$(cd /opt/certagent/layers 2>/dev/null && echo *)"
