#!/bin/sh
# The guest's first process: reads commands from the virtio-serial port "agent", one a line ("ID SCRIPT", the script in
# base64), and writes to it what they print and, after a NUL, "ID STATUS".
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/netns /run/lock
ln -sf /proc/self/fd /dev/fd
ip link set lo up
port=
until [ -n "$port" ]; do
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name" 2>/dev/null)" = agent ] && port=/dev/${p##*/}
  done
done
until [ -c "$port" ]; do :; done
exec 3<>"$port" >/dev/console 2>&1
printf 'ready\n' >&3
while read -r id script <&3; do
  printf %s "$script" | base64 -d >/run/script
  setsid --wait sh /run/script </dev/null >&3 2>&1 3>&-
  printf '\0%s %s\n' "$id" "$?" >&3
done
echo "the control channel is closed"
