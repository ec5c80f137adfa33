#!/bin/sh
# Installs the system packages that are missing, and names them first.
#   lab/bootstrap.sh python|hosts|lint|test|bench|vms …
set -eu

wanted() {
    # Lines of: program or file that must be there, Debian package that has it.
    case $1 in
    python) echo "python3 python3" ;;
    hosts)
        cat <<'END'
mmdebstrap mmdebstrap
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
systemd-nspawn systemd-container
ip iproute2
ssh openssh-client
slice2py zeroc-ice-compilers
END
        ;;
    lint)
        cat <<'END'
shellcheck shellcheck
slice2py zeroc-ice-compilers
END
        ;;
    test)
        cat <<'END'
nft nftables
curl curl
nc netcat-openbsd
mn mininet
brctl bridge-utils
ping iputils-ping
chromium chromium
END
        ;;
    bench)
        cat <<'END'
mn mininet
brctl bridge-utils
ping iputils-ping
sockperf sockperf
wrk wrk
chromium chromium
END
        ;;
    vms)
        cat <<'END'
vagrant vagrant
/usr/share/doc/vagrant-libvirt vagrant-libvirt
libvirtd libvirt-daemon-system
virsh libvirt-clients
dnsmasq dnsmasq-base
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
mmdebstrap mmdebstrap
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
grub-mkimage grub-common
/usr/lib/grub/i386-pc/boot.img grub-pc-bin
mke2fs e2fsprogs
sfdisk fdisk
ssh openssh-client
END
        ;;
    *)
        echo "bootstrap: no such set: $1; choose from python, hosts, lint, test, bench, vms" >&2
        exit 2
        ;;
    esac
}

there() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
    esac
}

missing=
for set in "$@"; do
    # shellcheck disable=SC2046  # two words a line, taken in pairs
    set -- $(wanted "$set")
    while [ $# -gt 0 ]; do
        there "$1" || missing="$missing $2"
        shift 2
    done
    if [ "$set" = python ] && command -v python3 >/dev/null; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "bootstrap: python3 is $(python3 -V); distlab needs 3.11 or newer" >&2
            exit 1
        }
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "bootstrap: these Debian packages' programs are missing:$missing" >&2
    for manager in "dnf install" "zypper install" "pacman -S"; do
        if command -v "${manager%% *}" >/dev/null; then
            echo "bootstrap: run: sudo $manager$missing   (names may differ a little)" >&2
        fi
    done
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || {
        echo "bootstrap: as root, run: apt-get install$missing" >&2
        exit 1
    }
fi
echo "bootstrap: installing Debian packages:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # a list of packages, to be split
if ! { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "bootstrap: apt-get failed, see above; run: $sudo apt-get install$missing" >&2
    exit 1
fi
