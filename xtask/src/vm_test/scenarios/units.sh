# systemd's own judges of units tell a good one from a bad one, so that their silence means something.
cat >/run/systemd/system/vmtest-good.service <<'END'
[Service]
ExecStart=/bin/true
DynamicUser=yes
PrivateNetwork=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=none
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallArchitectures=native
MemoryDenyWriteExecute=yes
LockPersonality=yes
CapabilityBoundingSet=
NoNewPrivileges=yes
END
printf '%s\n' '[Service]' ExecStart=/bin/true MemoryLock=yes >/run/systemd/system/vmtest-bad.service
systemctl daemon-reload
expect_same "what verify says of a good unit" \
    "$(systemd-analyze verify --man=no /run/systemd/system/vmtest-good.service 2>&1)" ""
expect "verify names a setting that does not exist" sh -c \
    'systemd-analyze verify --man=no /run/systemd/system/vmtest-bad.service 2>&1 | grep MemoryLock'
expect "a hardened unit's exposure is at most 3.0" \
    systemd-analyze security --no-pager --threshold=30 vmtest-good.service
expect_failure "that of one without is more" systemd-analyze security --no-pager --threshold=30 vmtest-bad.service
