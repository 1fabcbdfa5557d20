# The machine is what the other scenarios take it for.
expect "multi-user.target is reached" systemctl is-active multi-user.target
expect_same "no unit failed" "$(systemctl list-units --failed --plain --no-legend)" ""
expect_same "the file system of control groups" "$(stat --file-system --format=%T /sys/fs/cgroup)" cgroup2fs
expect "control groups limit memory" grep --word-regexp memory /sys/fs/cgroup/cgroup.controllers
expect_number "MiB of swap" "$(awk '/^SwapTotal:/ { print int($2 / 1024) }' /proc/meminfo)" -ge 500
expect_failure "swap goes to the disk and not to zswap" grep --quiet Y /sys/module/zswap/parameters/enabled
expect "stalls for want of memory are counted" grep '^some avg10=' /proc/pressure/memory
expect "the system bus answers" busctl --system status org.freedesktop.systemd1
start_service filled 8
expect "omnimind runs with this C library" $omnimind --version
