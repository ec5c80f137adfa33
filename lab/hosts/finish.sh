#!/bin/sh
# The last step of the image: mmdebstrap calls it with the root directory of the new system.
# Everything here serves one of three ends: a host that is nobody's yet, a quick boot, a small image.
set -eu
root=$1

# The files beside this script, as root's; directories that exist keep their modes.
tar -C "$(dirname "$0")/rootfs" --owner=0 --group=0 --mode=u=rwX,go=rX -c . |
    tar -C "$root" --no-overwrite-dir -x

# The login user. `*` is no valid password hash: only keys open this account.
useradd --root "$root" --create-home --uid 1000 --shell /bin/bash --password '*' lab
chmod 0440 "$root/etc/sudoers.d/lab"
chroot "$root" visudo --check --quiet

# Identity comes with each host.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/etc/hostname"
: >"$root/etc/machine-id"

# Journals stay on the host's disk: what happened before a power cut is evidence.
mkdir -p "$root/var/log/journal"

# Only what the preset names is enabled; daemons without a unit are held back the same way.
systemctl --root="$root" preset-all --preset-mode=full
systemctl --root="$root" set-default multi-user.target
rm -f "$root"/etc/rc[0-6S].d/S*
# The bus and the login manager start when somebody calls them.
for service in dbus systemd-logind; do
    rm "$root/usr/lib/systemd/system/multi-user.target.wants/$service.service"
done

# Units and generators that have nothing to do in a container without consoles, disks or seats.
systemctl --root="$root" mask \
    console-getty.service getty.target getty-static.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-binfmt.service systemd-firstboot.service systemd-machine-id-commit.service \
    systemd-modules-load.service systemd-random-seed.service systemd-repart.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-sysusers.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    kmod-static-nodes.service proc-sys-fs-binfmt_misc.automount \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount \
    cryptsetup.target integritysetup.target veritysetup.target
mkdir -p "$root/etc/systemd/system-generators"
for generator in cryptsetup debug fstab getty gpt-auto hibernate-resume integritysetup \
    rc-local run system-update veritysetup; do
    ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done

# The keys are checked for real when a host boots; this proves the file itself.
ssh-keygen -q -t ed25519 -N '' -f "$root/run/check"
chroot "$root" sh -c 'mkdir -p /run/sshd && sshd -t -h /run/check -o HostKey=/run/check'
rm -rf "$root/run/check" "$root/run/check.pub" "$root/run/sshd"
