import { buildCommand, buildRouteMap } from "@stricli/core";
import { type TunnelKind, tunnelKinds } from "../kernel/tunnels.ts";
import * as flag from "./flags.ts";
import { reporting } from "./output.ts";

interface Flags {
  readonly json: boolean;
  readonly keep: boolean;
}

interface TunnelFlags extends Flags {
  readonly tunnel: TunnelKind;
  readonly vm?: string;
}

const keep = {
  kind: "boolean",
  brief: "leave it standing, with a command to enter it",
  default: false,
  withNegated: false,
} as const;

const routing = buildCommand({
  docs: {
    brief: "a host, two LANs, a router, a neighbour and a task: why they cannot talk, and how they can",
    fullDescription:
      "Builds all of it in a user namespace of its own, attaches the task, proves each direction with ICMP and TCP, and detaches. Needs no root. Exit status 0 only if every proof held.",
  },
  parameters: {
    flags: {
      json: flag.json,
      keep,
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const { runLab } = await import("../lab/lab.ts");
      process.exitCode = await runLab("routing", flags);
    });
  },
});

const tunnels = buildCommand({
  docs: {
    brief: "two hosts with tunnels to a router, virtual machines and apps on them: who reaches whom",
    fullDescription:
      "Builds all of it in a user namespace of its own, attaches each by a CNI call, proves every pair with ICMP and TCP over IPv4 and IPv6, whole packets and the router's NAT included, and detaches. Needs no root, and nft or iptables for the router. A namespace stands for each virtual machine, or with --vm a real one: berth vm run starts QEMU for it, with the kernel that is named (a bzImage, its modules beside it as packages have them: ../lib/modules/RELEASE) or else this host's (/boot/vmlinuz-RELEASE), and an initramfs that is made of this host's busybox, ip, ss and ping (Debian's busybox-static, iproute2, iputils-ping). That needs root, as device nodes are made, qemu-system-x86_64, and half a GiB of memory; without KVM some minutes. Exit status 0 only if every proof held.",
  },
  parameters: {
    flags: {
      json: flag.json,
      keep,
      vm: {
        kind: "parsed",
        parse: flag.text,
        brief: "real virtual machines, with this kernel; without a path with the host's own",
        optional: true,
        inferEmpty: true,
        placeholder: "KERNEL",
      },
      tunnel: {
        kind: "enum",
        values: tunnelKinds,
        brief: "the tunnels' kind; vxlan where the kernel has no GRE",
        default: "gretap",
      },
    },
  },
  async func(flags: TunnelFlags) {
    await reporting(flags.json, async () => {
      const { runLab } = await import("../lab/lab.ts");
      process.exitCode = await runLab("tunnels", flags);
    });
  },
});

/** `berth lab`. */
export const labRoutes = buildRouteMap({
  docs: { brief: "see it work, in namespaces of its own" },
  routes: { routing, tunnels },
  defaultCommand: "routing",
});
