// What the kernel's sockets bring: netlink messages, and packets that anybody on the LAN can send.
import { newAddress, parseAddress } from "../../../src/kernel/addresses.ts";
import { readArp } from "../../../src/kernel/arp.ts";
import { Attributes } from "../../../src/kernel/attributes.ts";
import { readChain } from "../../../src/kernel/firewall.ts";
import { newSubInterface, parseLink } from "../../../src/kernel/links.ts";
import { readAdvertisement } from "../../../src/kernel/ndisc.ts";
import { newNeighbour, parseNeighbour } from "../../../src/kernel/neighbours.ts";
import { decodeMessages, encodeMessages, messageError, type Request } from "../../../src/kernel/netlink.ts";
import { newRoute, parseRoute } from "../../../src/kernel/routes.ts";
import { newRule, parseRule } from "../../../src/kernel/rules.ts";
import { Broken, type Target } from "../engine.ts";
import { mutateBytes } from "../mutate.ts";
import type { Random } from "../random.ts";

const parent = { parentIndex: 2, parentName: "eth1" };
const requests: readonly Request[] = [
  newSubInterface({
    name: "eth0",
    ...parent,
    mac: "02:00:00:00:00:01",
    mtu: 1500,
    detail: { kind: "macvlan", mode: "source", sources: ["02:00:00:00:00:02"], broadcastQueueLength: 5 },
  }),
  newSubInterface({ name: "eth0", ...parent, detail: { kind: "macvtap", mode: "bridge" } }),
  newSubInterface({ name: "eth0", ...parent, detail: { kind: "ipvlan", mode: "l3s", isolation: "vepa" } }),
  newSubInterface({ name: "eth0.7", ...parent, detail: { kind: "vlan", id: 7, protocol: "802.1ad" } }),
  newAddress(3, "eth0", { ip: "10.1.0.7", prefix: 24 }),
  newAddress(3, "eth0", { ip: "fd00::7", prefix: 64 }, "optimistic", 5),
  newRoute(
    {
      dst: { ip: "10.2.0.0", prefix: 16 },
      gateway: "10.1.0.1",
      source: "10.1.0.7",
      table: 98,
      metric: 5,
      mtu: 1400,
      advmss: 1360,
      onlink: true,
    },
    3,
    "eth0",
  ),
  newRoute({ dst: { ip: "::", prefix: 0 }, gateway: "fe80::1" }, 3, "eth0"),
  newNeighbour("10.1.0.9", "02:00:00:00:00:09", 3, "eth0"),
  newRule({
    family: 6,
    priority: 980,
    table: 98,
    from: { ip: "fd00::7", prefix: 128 },
    to: { ip: "fd00::", prefix: 8 },
  }),
];

/** The answers: requests have the same form as what the kernel tells of each thing; errors quote the request. */
const answers: readonly Uint8Array[] = [
  ...requests.map((request, i) => encodeMessages([request], 0, i + 1)),
  ...requests.map((request, i) => {
    const quoted = encodeMessages([request], 0, i + 1);
    const text = new TextEncoder().encode("Invalid prefix for given prefix length\0");
    const body = new Uint8Array(4 + quoted.length + 4 + text.length);
    const v = new DataView(body.buffer);
    v.setInt32(0, -22, true);
    body.set(quoted, 4);
    v.setUint16(4 + quoted.length, 4 + text.length, true);
    v.setUint16(6 + quoted.length, 1, true);
    body.set(text, 8 + quoted.length);
    return encodeMessages([{ what: "", type: 2, flags: 0x200, body }], 0, i + 1);
  }),
];

interface Case {
  readonly bytes: Uint8Array;
}

function messages(r: Random): Uint8Array {
  const parts = Array.from({ length: 1 + r.int(3) }, () => r.pick(answers));
  return mutateBytes(r, Uint8Array.of(...parts.flatMap((p) => [...p])));
}

/** Reads a payload as each of the things that it could be. */
function readAll(payload: Uint8Array): void {
  parseLink(payload);
  parseAddress(payload);
  parseRoute(payload);
  parseRule(payload);
  parseNeighbour(payload);
  readChain(payload);
}

/** Netlink messages. */
export const netlinkTarget: Target<Case> = {
  name: "netlink",
  brief: "netlink messages from the kernel, each read as everything that it could be",
  make: (r) => ({ bytes: r.once(50) ? r.bytes(r.int(200)) : messages(r) }),
  run({ bytes }) {
    for (const message of decodeMessages(bytes)) {
      messageError(message, "add a route");
      readAll(message.payload);
    }
    readAll(bytes);
    void new Attributes(bytes, 16);
  },
};

/** An ARP reply, and a neighbour advertisement with its IPv6 header. */
const arp = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0x66, 10, 1, 0, 7, ...new Uint8Array(10));
const ipv6 = [0x60, 0, 0, 0, 0, 32, 58, 255, ...new Uint8Array(32)];
const target = [0xfd, 0, ...new Uint8Array(13), 7];
const advertisement = Uint8Array.from([...ipv6, 136, 0, 0, 0, 0x20, 0, 0, 0, ...target, 2, 1, 2, 0, 0, 0, 0, 0x66]);

/** Packets from the LAN. */
export const packetTarget: Target<Case & { readonly six: boolean }> = {
  name: "packets",
  brief: "ARP and neighbour discovery packets from the LAN",
  make: (r) => {
    const six = r.once(2);
    return { six, bytes: mutateBytes(r, six ? advertisement : arp) };
  },
  run({ bytes, six }) {
    const mac = six ? readAdvertisement(bytes, "fd00::7") : readArp(bytes, "10.1.0.7");
    if (mac !== undefined && !/^([\da-f]{2}:){5}[\da-f]{2}$/u.test(mac)) throw new Broken(`${mac} is no MAC`);
  },
};
