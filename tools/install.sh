#!/usr/bin/env bash
# Puts on this machine what Catenary needs and what is missing, and refuses with one line where it can't run.
#
#   tools/install.sh system   root, Linux, kernel features, Debian packages
#   tools/install.sh python   the virtual environment .venv, from constraints.txt
#   tools/install.sh package  Debian packages that build Debian packages
#   tools/install.sh ids      Suricata 7, from bookworm-backports on Debian 12
#   tools/install.sh test     Debian packages that only the tests need: those, Suricata, a browser, Prometheus, shells
#
# All are idempotent; a machine that has everything is left alone in well under a second.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly KERNEL_MIN=5.15 PYTHON_MIN=3.11
readonly PACKAGES=(
    bpftool clang curl ethtool gcc haproxy httperf iperf3 iproute2 libbpf-dev libbpf1 libc6-dev libclang-rt-14-dev llvm make mininet nftables nginx-light
    iputils-ping openvswitch-switch procps python3-venv tcpdump
)
readonly PACKAGE_PACKAGES=(debhelper dpkg-dev)
readonly TEST_PACKAGES=("${PACKAGE_PACKAGES[@]}" chromium debootstrap etcd-server fish mandoc prometheus systemd zsh)
# What Debian 12 has only in its backports: the intrusion detection system, and what it needs newer than bookworm's own.
readonly BACKPORTED=(suricata libhtp2)
readonly BACKPORTS=bookworm-backports
# The command that stands for a package on distributions that have no dpkg.
readonly COMMANDS=(bpftool clang curl ethtool gcc haproxy httperf iperf3 ip tc make mnexec nft nginx ovs-vswitchd tcpdump)

die() {
    echo "catenary: $*" >&2
    exit 1
}

check_host() {
    [ "$(uname -s)" = Linux ] || die "this is $(uname -s), not Linux: run it on Debian 12 (a virtual machine will do)"
    [ "$(id -u)" = 0 ] || die "not root: network namespaces and BPF need it; run \`sudo make ${MAKE_GOAL:-demo}\`"
    local have
    have=$(uname -r | grep -oE '^[0-9]+\.[0-9]+')
    [ "$(printf '%s\n' "$KERNEL_MIN" "$have" | sort -V | head -n 1)" = "$KERNEL_MIN" ] ||
        die "Linux $have is too old: the load balancer's BPF programs need $KERNEL_MIN or newer"
    [ -r /sys/kernel/btf/vmlinux ] ||
        die "this kernel has no BTF (/sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF=y"
}

check_kernel_features() {
    unshare -n -m true 2>/dev/null ||
        die "can't make network and mount namespaces: in a container, start it with --privileged"
    unshare -n tc qdisc add dev lo clsact 2>/dev/null ||
        die "this kernel has no tc clsact: use one built with CONFIG_NET_CLS_ACT and CONFIG_NET_SCH_INGRESS"
    bpftool prog list >/dev/null 2>&1 ||
        die "the bpf() system call is refused: in a container, start it with --privileged (CAP_BPF, CAP_NET_ADMIN)"
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

check_commands() {
    command -v apt-get >/dev/null && return
    local command
    for command in "${COMMANDS[@]}"; do
        command -v "$command" >/dev/null || die "no apt-get here and no \`$command\`: install it by hand"
    done
}

# Where apt takes Debian's own packages from; nothing until it has read its sources.
mirror() {
    apt-get indextargets --format '$(SITE)' "Codename: ${BACKPORTS%-backports}" 2>/dev/null | sed -n 1p
}

# Lets apt take BACKPORTED from the backports, and nothing else unless the host had them before.
add_backports() {
    [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "${BACKPORTS%-backports}" ] || return 0
    local name=catenary-$BACKPORTS
    printf 'Package: %s\nPin: release n=%s\nPin-Priority: 500\n' "${BACKPORTED[*]}" "$BACKPORTS" \
        >"/etc/apt/preferences.d/$name"
    if grep -qsrE --exclude="$name.sources" "^[^#]*\b$BACKPORTS\b" /etc/apt/sources.list /etc/apt/sources.list.d; then return; fi
    echo "adding $BACKPORTS, for ${BACKPORTED[*]} alone: /etc/apt/sources.list.d/$name.sources"
    printf '\nPackage: *\nPin: release n=%s\nPin-Priority: -1\n' "$BACKPORTS" >>"/etc/apt/preferences.d/$name"
    local mirror
    mirror=$(mirror)
    if [ -z "$mirror" ]; then apt-get update >/dev/null 2>&1 && mirror=$(mirror); fi
    [ -n "$mirror" ] || die "apt knows no mirror of Debian: run \`apt-get update\`, or add $BACKPORTS to its sources"
    cat >"/etc/apt/sources.list.d/$name.sources" <<END
Types: deb
URIs: $mirror
Suites: $BACKPORTS
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
}

install_ids() {
    command -v suricata >/dev/null && return
    command -v apt-get >/dev/null || die "no apt-get here and no \`suricata\`: install Suricata 7 by hand"
    add_backports
    install_packages suricata
}

install_packages() {
    command -v apt-get >/dev/null || return 0
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} = 0 ] && return
    echo "installing ${missing[*]}"
    # The testbed runs its own private daemons: packages must not start theirs on this host.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
        [ -z "${CI:-}" ] || cat "$log" >&2
        die "apt-get could not install ${missing[*]} (log: $log): check the network and /etc/apt/sources.list"
    }
    rm -f "$log"
}

install_python() {
    local python=${PYTHON:-python3}
    command -v "$python" >/dev/null || die "no $python: install Python $PYTHON_MIN or newer, or set PYTHON="
    "$python" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$PYTHON_MIN'.split('.'))))" ||
        die "$("$python" --version) is too old: $PYTHON_MIN or newer is needed (set PYTHON=)"
    [ -x .venv/bin/pip ] || { rm -rf .venv && "$python" -m venv .venv; } ||
        die "$python can't make a virtual environment: apt install python3-venv"
    echo "installing Python packages into .venv"
    .venv/bin/pip --disable-pip-version-check install --quiet --retries 2 -c constraints.txt \
        -e '.[testbed,test,dev]' >.venv/pip.log 2>&1 || {
        [ -z "${CI:-}" ] || cat .venv/pip.log >&2
        die "pip could not install the Python packages (log: .venv/pip.log): is a package registry reachable" \
            "from here? (PIP_INDEX_URL names another one)"
    }
    # The networks and experiments are run from the checkout, by files and commands (`mn`) of any folder.
    local site
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$PWD" >"$site/checkout.pth"
}

case "${1:-}" in
system)
    check_host
    check_commands
    install_packages "${PACKAGES[@]}"
    check_kernel_features
    ;;
python)
    install_python
    ;;
package)
    install_packages "${PACKAGE_PACKAGES[@]}"
    ;;
ids)
    install_ids
    ;;
test)
    # Without apt-get, tests that need one of them say so and are skipped.
    ! command -v apt-get >/dev/null || install_ids
    install_packages "${TEST_PACKAGES[@]}"
    ;;
*)
    die "usage: tools/install.sh system|python|package|ids|test"
    ;;
esac
