// npm run test:openstack [WORD…]: Berth in VMs of a real cloud, started from Debian's packages.
import { mount } from "../../src/kernel/libc.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { installPackages } from "../packages.ts";
import { build, notDebian12, runSuites } from "../suites.ts";
import { packages } from "./real/start.ts";

await runSuites({
  main: import.meta.path,
  results: "dist/results/openstack",
  limitS: 3600,
  timeoutMs: 60_000,
  obstacle: () => notDebian12("the cloud is installed from its packages"),
  prepare() {
    installPackages([...packages, "iputils-ping"]);
    build();
  },
  hide() {
    mount("sysfs", "/sys", "sysfs", 0);
    for (const path of ["/run", "/var/lib"]) mount("tmpfs", path, "tmpfs", 0, "mode=0755");
    using nl = new Netlink();
    nl.do(changeLink("lo", { up: true }));
  },
});
