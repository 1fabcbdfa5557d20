# Runs as root inside the new root file system. The kernel is unpacked and not installed: NVMe, ext4 and the serial ports are
# built into it, so that no initramfs is needed, and making one takes longer than all the rest.
set -eu

apt-get update
apt-get install --yes --download-only --no-install-recommends linux-image-cloud-amd64
dpkg -x /var/cache/apt/archives/linux-image-[0-9]*.deb /kernel
mv /kernel/lib/modules /usr/lib/
mv /kernel/boot/vmlinuz-* /boot/vmlinuz
rm -r /kernel
depmod "$(ls /usr/lib/modules)"
apt-get clean
rm -rf /var/lib/apt/lists/*

echo vm-test >/etc/hostname
# Three namespaces of one NVMe controller: this root, swap, and what a run brings along.
cat >/etc/fstab <<'END'
/dev/nvme0n1 /        ext4 defaults 0 0
/dev/nvme0n2 none     swap sw       0 0
/dev/nvme0n3 /vm-test ext4 ro       0 0
END
mkdir /vm-test
# Nothing here runs long enough for the work of a night, and nobody logs in.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-timesyncd.service getty.target serial-getty@ttyS0.service e2scrub_reap.service
# Those have nothing to generate here, and each runs again whenever a scenario has systemd reload.
mkdir -p /etc/systemd/system-generators
for name in bless-boot cryptsetup getty gpt-auto hibernate-resume integritysetup rc-local run system-update sysv veritysetup; do
    ln -s /dev/null "/etc/systemd/system-generators/systemd-$name-generator"
done

# Wanted on the kernel's command line, so that the image does nothing by itself.
cat >/etc/systemd/system/vm-test.service <<'END'
[Unit]
Description=Scenarios
After=multi-user.target
RequiresMountsFor=/vm-test

[Service]
Type=oneshot
ExecStart=/bin/sh /vm-test/run.sh
# Whatever becomes of the scenarios, the machine ends.
ExecStopPost=/usr/bin/systemctl poweroff --force --force
OOMScoreAdjust=-900
TimeoutStartSec=infinity
END
