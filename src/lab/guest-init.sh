#!/bin/sh
# The first process of a small guest: loads the drivers of its NICs and of the line to its agent, and becomes the agent.
export PATH=/bin:/bin/whole HOME=/ TERM=dumb
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_net virtio_console; do modprobe "$module" 2>/dev/null; done
ip link set dev lo up
# busybox takes its own program for any other of that name, wherever that is
for program in /bin/whole/*; do
  echo "${program##*/}() { $program \"\$@\"; }"
done >/run/prelude
exec sh /bin/agent
