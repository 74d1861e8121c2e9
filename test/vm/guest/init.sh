#!/bin/sh
# The initramfs: mounts the system image below a tmpfs that takes what is written, and goes on there.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a virtio_pci virtio_blk virtio_console squashfs overlay
until [ -b /dev/vda ]; do usleep 20000; done
mount -t squashfs -o ro /dev/vda /system
mount -t tmpfs tmpfs /written
mkdir /written/upper /written/work
mount -t overlay -o lowerdir=/system,upperdir=/written/upper,workdir=/written/work overlay /new
mount --move /dev /new/dev
umount /sys /proc
exec switch_root /new /sbin/start
