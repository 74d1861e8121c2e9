// npm run test:guests [WORD…]: virtual machines that `berth vm` runs and moves, in QEMU.
import { mkdirSync } from "node:fs";
import { mount, MS_BIND, MS_REC } from "../../src/kernel/libc.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { installPackages } from "../packages.ts";
import { runSuites } from "../suites.ts";
import { makeImages } from "./images.ts";

const packages = ["qemu-system-x86", "busybox-static", "iproute2", "iputils-ping", "kmod", "xz-utils"];
/** The daemon without the package that wants systemd. */
const libvirt = ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "libxml2-utils"];

await runSuites({
  main: import.meta.path,
  results: "dist/results/guests",
  limitS: 3600,
  timeoutMs: 600_000,
  obstacle: () => undefined,
  async prepare(suites) {
    installPackages(suites.includes("libvirt") ? [...packages, ...libvirt] : packages);
    await makeImages(); // from within the namespaces they could not be made
  },
  hide() {
    for (const path of ["/run", "/var/lib"]) mount("tmpfs", path, "tmpfs", 0, "mode=0755");
    // the new /sys shows this namespace's links; the control groups below it stay
    mkdirSync("/run/cgroups");
    mount("/sys/fs/cgroup", "/run/cgroups", "", MS_BIND | MS_REC);
    mount("sysfs", "/sys", "sysfs", 0);
    mount("/run/cgroups", "/sys/fs/cgroup", "", MS_BIND | MS_REC);
    using nl = new Netlink();
    nl.do(changeLink("lo", { up: true }));
  },
});
