#!/bin/sh
# The small guest's only process: reads commands from the virtio-serial port "agent", one a line ("ID SCRIPT", the script in
# base64), and writes to it what they print and, after a NUL, "ID STATUS".
export PATH=/bin HOME=/ TERM=dumb
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_net virtio_console; do modprobe "$module"; done
ip link set dev lo up
until [ -e /sys/class/net/eth0 ]; do usleep 20000; done
port=
until [ -c "$port" ]; do
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name" 2>/dev/null)" = agent ] && port=/dev/${p##*/}
  done
done
exec 3<>"$port" >/dev/console 2>&1
printf 'ready\n' >&3
while read -r id script <&3; do
  # busybox takes its own ip for any other, wherever that is
  echo 'ip() { /bin/iproute2 "$@"; }' >/run/script
  printf %s "$script" | base64 -d >>/run/script
  sh /run/script </dev/null >&3 2>&1
  printf '\0%s %s\n' "$id" "$?" >&3
done
