# The monitor as installed, locked in as it is, tells somebody: an alert is posted and given to a command when memory is short, and
# so is its end.
unit=omnimind-memory-monitor.service
caught=/run/vm-test/caught
# Of what is not in its cgroups this directory is all that the monitor, and so its command, may write to.
told=/run/omnimind/told
configure 'ram_high = 0.4' 'ram_critical = 0.9' 'interval_s = 1' 'hold_s = 1' \
    '[memory.alerts]' 'webhook = "http://127.0.0.1:8080/hook"' \
    "command = [\"/bin/sh\", \"-c\", \"cat >>$told && echo >>$told\"]"
printf '%s\n' '[Service]' Type=notify "ExecStart=/vm-test/vm-helper vm-helper catch 8080 $caught" TimeoutStartSec=180 \
    >/run/systemd/system/vmtest-hook.service
systemctl daemon-reload
expect "somebody listens" systemctl start vmtest-hook.service
start_service critical 120
expect "installing works" $omnimind systemd install
expect_same "what verify says of the monitor" "$(systemd-analyze verify --man=no $unit 2>&1)" ""
exposure=$(systemd-analyze security --no-pager $unit | tail -n 1)
echo "$exposure"
expect "its exposure is at most 3.0, with a webhook" systemd-analyze security --no-pager --threshold=30 $unit

# opens NAME FILTER: makes vmtest-NAME@.service, which is the unit of the monitor after that filter, and reads the file of its instance.
opens() {
    sed -e 's|^ExecStart=.*|ExecStart=/usr/bin/head --bytes=1 %f|' -e 's/^Type=.*/Type=oneshot\nStandardOutput=null/' \
        -e '/^\(NotifyAccess\|Restart\|RestartSec\|WatchdogSec\|RuntimeDirectory[A-Za-z]*\)=/d' -e "$2" \
        /etc/systemd/system/$unit >"/run/systemd/system/vmtest-$1@.service"
    systemctl daemon-reload
}
opens locked ''
expect "in such a unit /dev/zero can be read" systemctl start vmtest-locked@dev-zero.service
expect_failure "a disk cannot" systemctl start vmtest-locked@dev-nvme0n1.service
# ProtectClock= allows the clock, and by that no other device.
opens unlocked '/^\(Device[A-Za-z]*\|ProtectClock\)=/d'
expect "without what it says of devices it could" systemctl start vmtest-unlocked@dev-nvme0n1.service

expect "the monitor starts" systemctl restart $unit
# ram_high KEY FILE: what was told of RAM, of each alert this.
ram_high() {
    jq --raw-output "select(.kind == \"ram_high\") | .$1" "$2"
}
# is_told FILE RECOVERED...: whether that is all that was told of RAM, in this order.
is_told() {
    local file=$1
    shift
    [ "$(ram_high recovered "$file" | xargs)" = "$*" ]
}
expect "nothing is told of RAM yet" is_told $caught
press 200
expect_within 60 "the alert is posted" is_told $caught false
expect_within 60 "the command has got it" is_told $told false
systemctl stop vmtest-pressure.service
expect_within 60 "that it is over is posted" is_told $caught false true
expect_within 60 "the command has got that, too" is_told $told false true
ram_high text $caught
expect_same "what the command was told" "$(ram_high text $told)" "$(ram_high text $caught)"
expect "the text has the numbers" sh -c \
    'echo "$1" | grep --extended-regexp "^RAM is [4-9][0-9]\.[0-9] % used, at or above 40\.0 %$"' sh "$(ram_high text $caught)"
expect_failure "nothing could not be sent" sh -c \
    "journalctl --no-pager --unit=$unit | grep 'alerts could not go'"
expect "the monitor runs" systemctl is-active $unit
expect "removing works" $omnimind systemd uninstall
