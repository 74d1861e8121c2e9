// From whatever configuration is accepted, and whatever IPAM answers, to a plan and the commands that explain it.
import { hostAccessOf } from "../../../src/attachment/host-access.ts";
import { conflictDetectionOf } from "../../../src/attachment/conflict-detection.ts";
import { planAttachment } from "../../../src/attachment/plan.ts";
import { readConfig } from "../../../src/attachment/config-issues.ts";
import { ownAccessLink } from "../../../src/attachment/access-link.ts";
import { routingOf } from "../../../src/attachment/source-routing.ts";
import { kindOf, subInterfaceOf } from "../../../src/attachment/sub-interface.ts";
import { oddKey } from "../../../src/attachment/record-form.ts";
import { readResult } from "../../../src/ipam/ipam-result.ts";
import type { Link } from "../../../src/kernel/links.ts";
import { explainPlan, explainUndo } from "../../../src/plan/plan.ts";
import { Broken, type Target } from "../engine.ts";
import { hostileText, mutateJson } from "../mutate.ts";
import { recordSamples } from "./records.ts";
import { configs } from "./samples.ts";

const parent: Link = {
  index: 2,
  name: "eth1",
  kind: undefined,
  detail: undefined,
  mtu: 1500,
  mac: "02:00:00:00:00:09",
  up: true,
  loopback: false,
  arp: true,
  multicast: true,
  allMulticast: false,
  carrier: true,
  state: "up",
  parentIndex: undefined,
  parentElsewhere: false,
  masterIndex: undefined,
  group: 0,
  alias: "",
};

const result = {
  ips: [
    { address: "10.1.0.7/24", gateway: "10.1.0.1" },
    { address: "fd00::7/64", gateway: "fd00::1" },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 5, table: 5, scope: 0 },
    { dst: "::/0" },
  ],
};

interface Case {
  readonly config: unknown;
  readonly result: unknown;
  readonly parent: string;
  readonly netns: string;
}

/** A line that a shell would read as something else than words: a sign of its own outside of quotes. */
function unquoted(line: string): string | undefined {
  const bare = line
    .replaceAll(/'[^']*'|\\'/gu, "")
    .replace(/(?:^| )#.*$/u, "")
    .replace("; do sleep 0.1; done", "");
  return /[^\w@%+=:,./ >|&-]/u.exec(bare)?.[0];
}

/** Plans and their explanation. */
export const planTarget: Target<Case> = {
  name: "plan",
  brief: "plans, and the commands that explain them",
  make: (r) => ({
    config: mutateJson(r, r.pick(configs)),
    result: r.once(2) ? result : mutateJson(r, result),
    parent: r.once(4) ? hostileText(r) : "eth1",
    netns: r.once(3) ? hostileText(r) : "/run/netns/c1",
  }),
  async run({ config: json, result: given, parent: name, netns }) {
    const config = readConfig(JSON.parse(JSON.stringify(json)));
    const kind = kindOf(config, "berth");
    const detail = subInterfaceOf(config, kind);
    if (typeof given !== "object" || given === null) return;
    const allocation = readResult(given as Readonly<Record<string, unknown>>);
    const options = hostAccessOf(config);
    const on = { ...parent, name: /^(?!\.{1,2}$)[^\s/:\0]{1,15}$/u.test(name) ? name : "eth1" };
    const detection = conflictDetectionOf(config, detail);
    const host =
      options === undefined || detail.kind === "vlan" || detail.kind === "device"
        ? undefined
        : { ...ownAccessLink(detail, on), options, addresses: [{ ip: "192.168.10.22", loopback: false }] };
    const plan = planAttachment({
      key: { network: config.name, containerId: "c1", ifName: "eth0" },
      detail,
      parent: on,
      parentWhere: config.linkInContainer ? "container" : "host",
      allocation,
      hostIps: ["192.168.10.22"],
      ...routingOf(config, host !== undefined),
      ...(config.mac === undefined ? {} : { mac: config.mac }),
      ...(host === undefined ? {} : { host }),
      ...(detection === undefined ? {} : { conflictDetection: detection }),
    });
    // what is written to a record must be read again, or DEL could not undo it
    const sample = JSON.parse(
      JSON.stringify({ ...recordSamples[0], kind, parent: on.name, plan, allocation }),
    ) as object;
    const odd = oddKey(sample as Readonly<Record<string, unknown>>);
    if (odd !== undefined) throw new Broken(`the ${odd} of a record would not be read: ${JSON.stringify(sample)}`);
    for (const step of plan)
      if (step.type === "sysctl" && !/^net\/ipv[46]\/conf\/eth0\/\w+$/u.test(step.key)) throw new Broken(step.key);
    for (const line of [...(await explainPlan(plan, netns)), ...(await explainUndo(plan, netns))]) {
      const sign = unquoted(line);
      if (sign !== undefined) throw new Broken(`${JSON.stringify(sign)} is not quoted in ${JSON.stringify(line)}`);
    }
  },
};
