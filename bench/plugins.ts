// The two that are compared: Berth's executable, and the standard macvlan with the standard host-local.
import { existsSync } from "node:fs";

/** Where distributions put the standard plugins: Debian and Ubuntu, Fedora, the plugins' own releases. */
const DIRECTORIES = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];

/** Which of the two. */
export type Side = "berth" | "peer";

/** A CNI plugin that can be called. */
export interface Plugin {
  readonly side: Side;
  readonly executable: string;
  /** CNI_PATH: where it looks for IPAM plugins. */
  readonly cniPath: string;
  /** Variables beside those of the call. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The standard macvlan, where host-local is beside it; undefined where they are not installed. */
export function findPeer(): Plugin | undefined {
  const cniPath = DIRECTORIES.find((d) => existsSync(`${d}/macvlan`) && existsSync(`${d}/host-local`));
  return cniPath === undefined ? undefined : { side: "peer", executable: `${cniPath}/macvlan`, cniPath };
}

/** Why the peer's columns are empty, and what to do about it. */
export const noPeer = `The standard plugins macvlan and host-local are not installed (looked in ${DIRECTORIES.join(", ")}): the peer's columns are empty.
  apt install containernetworking-plugins   (Debian, Ubuntu)
  dnf install containernetworking-plugins   (Fedora, RHEL)`;

/** An executable of Berth as a plugin, on either side: two builds can be compared too. */
export function berthPlugin(side: Side, executable: string): Plugin {
  return { side, executable, cniPath: DIRECTORIES.join(":") };
}

/** A network's configuration as a runtime passes it. */
export type Config = Readonly<Record<string, unknown>>;

/** Separate subnets, so that two sides attached to one LAN never have one address. */
const subnets: Readonly<Record<Side, string>> = { berth: "10.91", peer: "10.92" };

/**
 * The same network for either side, but for its name, subnet and state directory.
 * @param extra further keys, as `hostrouteif`
 */
export function networkConfig(side: Side, name: string, parent: string, extra: Config = {}): Config {
  const subnet = subnets[side];
  return {
    cniVersion: "1.0.0",
    name: `${name}-${side}`,
    type: "macvlan",
    master: parent,
    mode: "bridge",
    ipam: {
      type: "host-local",
      ranges: [[{ subnet: `${subnet}.0.0/16`, rangeStart: `${subnet}.1.0`, gateway: `${subnet}.0.1` }]],
      routes: [{ dst: "0.0.0.0/0" }],
      dataDir: `/var/lib/bench-${side}`,
    },
    ...extra,
  };
}
