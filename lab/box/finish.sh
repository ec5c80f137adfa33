#!/bin/sh
# The last step of the box's system: mmdebstrap calls it with the root directory.
# Everything here serves one of three ends: a machine that is nobody's yet, that Vagrant can take
# over, and that boots quickly where every instruction is emulated.
set -eu
root=$1
here=$(dirname "$0")

# The files beside this script, and what sshd shall be like on every host of the lab.
for files in "$here/rootfs" "$here/../hosts/rootfs"; do
    if [ "$files" = "$here/rootfs" ]; then what=.; else what=./etc/ssh; fi
    tar -C "$files" --owner=0 --group=0 --mode=u=rwX,go=rX -c "$what" |
        tar -C "$root" --no-overwrite-dir -x
done

# The user whom Vagrant logs in as, by the key that every box admits and Vagrant replaces at the
# first boot. `*` is no valid password hash: only keys open this account.
useradd --root "$root" --create-home --uid 1000 --shell /bin/bash --password '*' vagrant
install -d -m 0700 "$root/home/vagrant/.ssh"
install -m 0600 "$here/vagrant.pub" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant
chmod 0440 "$root/etc/sudoers.d/vagrant"
chroot "$root" visudo --check --quiet

# Identity comes with each machine.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
echo distlab >"$root/etc/hostname"
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf"

# All that the roles want is here. Nothing is fetched by a machine, and no mirror of the machine
# that built the box is known to those that boot it.
: >"$root/etc/apt/sources.list"
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin

# Journals stay on the host's disk: what happened before a power cut is evidence.
mkdir -p "$root/var/log/journal"

# Only what the preset names is enabled; daemons without a unit are held back the same way.
systemctl --root="$root" preset-all --preset-mode=full
systemctl --root="$root" set-default multi-user.target
rm -f "$root"/etc/rc[0-6S].d/S*
systemctl --root="$root" mask \
    getty.target getty-static.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-binfmt.service systemd-firstboot.service systemd-hwdb-update.service \
    systemd-modules-load.service systemd-networkd-wait-online.service \
    systemd-pcrphase.service systemd-pcrphase-initrd.service systemd-pcrphase-sysinit.service \
    systemd-repart.service systemd-rfkill.service systemd-rfkill.socket systemd-sysusers.service \
    systemd-update-done.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    proc-sys-fs-binfmt_misc.automount dev-hugepages.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service
mkdir -p "$root/etc/systemd/system-generators"
for generator in cryptsetup debug getty gpt-auto hibernate-resume integritysetup \
    rc-local run system-update veritysetup; do
    ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done

# The kernel's modules were unpacked before the list of those that the first disk needs was there.
chroot "$root" update-initramfs -u -k all
[ -e "$root/vmlinuz" ] && [ -e "$root/initrd.img" ]
