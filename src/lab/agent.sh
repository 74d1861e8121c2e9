#!/bin/sh
# What runs in a virtual machine and carries out what it is told: reads commands from the virtio-serial port "agent", one a
# line ("ID SCRIPT", the script in base64), and writes to it what they print and, after a NUL, "ID STATUS". What is in
# /run/prelude stands before each script.
port=
until [ -c "$port" ]; do
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name" 2>/dev/null)" = agent ] && port=/dev/${p##*/}
  done
done
[ -e /run/prelude ] || : >/run/prelude
exec 3<>"$port" >/dev/console 2>&1
printf 'ready\n' >&3
while read -r id script <&3; do
  { cat /run/prelude; printf %s "$script" | base64 -d; } >/run/script
  setsid sh /run/script </dev/null >&3 2>&1 3>&-
  printf '\0%s %s\n' "$id" "$?" >&3
done
echo "the control channel is closed"
