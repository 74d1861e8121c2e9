// What there is to know of this host where something does not work: of the kernel only what is Berth's, or what it sits on.
import { formatCidr } from "../address/cidr.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { listDirectory, readFileIfThere } from "../kernel/files.ts";
import { strictChains } from "../kernel/firewall.ts";
import { listLinks } from "../kernel/links.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH, RTPROT_BERTH } from "../kernel/protocol.ts";
import { describeRoute, listRoutes } from "../kernel/routes.ts";
import { listRules } from "../kernel/rules.ts";
import { readSysctl } from "../kernel/sysctls.ts";
import { DATA_DIR } from "../ipam/host-local.ts";
import { Reservations } from "../ipam/reservations.ts";
import { parseJson } from "../ipam/json.ts";
import { verifyPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { redacted } from "../report/redact.ts";
import { describeKey } from "./key.ts";
import { type AttachmentRecord, isOrphan, listRecords } from "./record.ts";

/** Settings that keep packets from where they shall go. */
const SETTINGS = [
  ...["ip_forward", "conf/all/rp_filter", "conf/all/arp_ignore", "conf/all/arp_filter", "conf/all/arp_announce"].map(
    (name) => `net/ipv4/${name}`,
  ),
  ...["conf/all/disable_ipv6", "conf/default/disable_ipv6", "conf/all/forwarding"].map((name) => `net/ipv6/${name}`),
];

function line(path: string): string | undefined {
  try {
    return readFileIfThere(path)?.trim();
  } catch {
    return undefined;
  }
}

/** What the system is: texts as the system has them. */
export function systemReport(): unknown {
  const release = line("/etc/os-release")?.split("\n");
  return {
    kernel: line("/proc/sys/kernel/osrelease"),
    built: line("/proc/sys/kernel/version"),
    distribution: release?.find((l) => l.startsWith("PRETTY_NAME="))?.replace(/^PRETTY_NAME="?|"$/gu, ""),
    architecture: process.arch,
    upSeconds: Number(line("/proc/uptime")?.split(" ")[0]),
    user: process.geteuid?.(),
    capabilities: /^CapEff:\s*(\w+)$/mu.exec(line("/proc/self/status") ?? "")?.[1],
  };
}

/** Links, addresses, and what of Berth's leads where, in this namespace. Throws `SysError`. */
export function kernelReport(): unknown {
  using nl = new Netlink();
  const links = listLinks(nl);
  const nameOf = (index: number | undefined): string => links.find((l) => l.index === index)?.name ?? `${index}`;
  const routes = ([4, 6] as const).flatMap((family) => listRoutes(nl, { family, protocol: RTPROT_BERTH }));
  const rules = ([4, 6] as const).flatMap((family) => listRules(nl, family));
  return {
    links: links.map(({ name, kind, mtu, mac, up, carrier, state, parentIndex, group, alias, detail }) => ({
      name,
      kind,
      mtu,
      mac,
      up,
      carrier,
      state,
      ...(parentIndex === undefined ? {} : { parent: nameOf(parentIndex) }),
      ...(group === LINK_GROUP_BERTH ? { berth: true } : {}),
      ...(alias === "" ? {} : { alias }),
      ...(detail === undefined ? {} : { detail }),
    })),
    addresses: listAddresses(nl).map((a) => `${formatCidr(a.cidr)} on ${nameOf(a.linkIndex)}`),
    routesOfBerth: routes.map((route) => describeRoute(route, nameOf(route.linkIndex))),
    rules: rules.map((rule) => ({ ...rule, berth: rule.protocol === RTPROT_BERTH })),
    neighboursOfBerth: links
      .flatMap((l) => listNeighbours(nl, l.index))
      .filter((n) => n.protocol === RTPROT_BERTH)
      .map((n) => `${n.ip} is ${n.mac} on ${nameOf(n.linkIndex)}`),
    settings: Object.fromEntries(SETTINGS.map((key) => [key, readSysctl(key)])),
    chainsThatDrop: strictChains(),
  };
}

async function faultsOf(record: AttachmentRecord): Promise<readonly string[]> {
  if (isOrphan(record)) return ["its namespace is gone"];
  if (record.inTransit === true) return ["its link is on its way"];
  try {
    using places = Places.find(record.netns);
    return await verifyPlan(
      record.plan.filter((step) => step.where !== "cloud"),
      places,
    );
  } catch (e) {
    return [asFailure(e, "look at it").message];
  }
}

/** The attachments, what of each does not hold, and the failure of each record that cannot be read. */
export async function attachmentsReport(): Promise<{ attachments: unknown[]; unreadable: Failure[] }> {
  const unreadable: Failure[] = [];
  const attachments: unknown[] = [];
  for (const record of listRecords((f) => unreadable.push(f))) {
    const { key, config, plan, ...rest } = record;
    const faults = await faultsOf(record);
    let configuration: unknown;
    try {
      configuration = redacted(parseJson(config, "read it"));
    } catch {
      configuration = "(no JSON)";
    }
    attachments.push({ attachment: describeKey(key), faults, ...rest, config: configuration, plan });
  }
  return { attachments: attachments.map(redacted), unreadable };
}

/** Who has which address, by network, where host-local usually keeps it. Throws `SysError`. */
export function reservationsReport(): unknown {
  const networks = listDirectory(DATA_DIR).filter((entry) => entry.directory);
  return Object.fromEntries(
    networks.map(({ name }) => {
      const all = new Reservations(DATA_DIR, name).list();
      return [name, Object.fromEntries(all.map((r) => [r.ip, r.content.replace("\r\n", " ")]))];
    }),
  );
}
