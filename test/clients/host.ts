// The host that callers run on, its two LANs, and what is proven of every container: from outside, from inside, and after.
import { expect } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";
import { HOST, type Json, type Snapshot, TestWorld } from "../world.ts";

/** The two kinds that every caller is run with. */
export const kinds = ["macvlan", "macvtap"] as const;
/** One of them. */
export type Kind = (typeof kinds)[number];

const HOST_IPS = ["192.168.10.22", "fd10::22"] as const;
const PEER_IPS = ["192.168.122.22", "fd22::22"] as const;
/** On the other LAN, behind the router. */
const DESK_IPS = ["192.168.10.30", "fd10::30"] as const;
const WHO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"$REMOTE_ADDR\"\n";
/** Where host-local keeps its reservations, by network. */
export const RESERVATIONS = "/var/lib/cni/networks";

/** A directory tree that `busybox httpd` serves: /cgi-bin/who answers with the asker's address. */
export function webTree(directory: string): void {
  mkdirSync(`${directory}/cgi-bin`, { recursive: true });
  writeFileSync(`${directory}/cgi-bin/who`, WHO);
  chmodSync(`${directory}/cgi-bin/who`, 0o755);
}

/** A container as a caller made it. Its first process is a web server (`busybox httpd`) with {@link webTree}. */
export interface Container {
  readonly netns: string;
  readonly kind: Kind;
  /** Addresses that it must have, and no others; CIDRs. */
  readonly addresses: readonly string[];
  /** Absent: any. */
  readonly mac?: string;
  /** Nameservers that its /etc/resolv.conf must have; absent: the caller gives it none. */
  readonly nameservers?: readonly string[];
  /** The parent's where absent. */
  readonly mtu?: number;
  /** Runs a script in it; its output. Throws where it fails. */
  readonly inside: (script: string) => string;
}

const bare = (cidr: string): string => cidr.replace(/\/.*/u, "");
const isIpv6 = (ip: string): boolean => ip.includes(":");
const url = (ip: string, port = 80): string => `http://${isIpv6(ip) ? `[${ip}]` : ip}:${port}/cgi-bin/who`;

/** The address that /cgi-bin/who answered: busybox writes it in brackets, and IPv4 as mapped into IPv6. */
const askerIn = (line: string): string => line.replaceAll(/[[\]\s]|::ffff:/gu, "");

/** A program's output in this namespace. Throws with all that it said. */
export function run(argv: readonly string[], stdin = ""): string {
  const r = Bun.spawnSync([...argv], { stdin: Buffer.from(stdin) });
  if (r.exitCode === 0) return r.stdout.toString();
  throw new Error(`${argv.join(" ")}: exit ${r.exitCode}: ${r.stderr.toString()}${r.stdout.toString()}`);
}

/** A program that may run beside others: its exit status, its output and its error text. */
export async function start(argv: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const p = Bun.spawn([...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err, code] = await Promise.all([p.stdout.text(), p.stderr.text(), p.exited]);
  return { code, out, err };
}

/** Addresses that host-local holds, of all networks. */
export function reserved(): string[] {
  if (!existsSync(RESERVATIONS)) return [];
  return readdirSync(RESERVATIONS).flatMap((n) =>
    readdirSync(`${RESERVATIONS}/${n}`).filter((f) => /^[\da-f]+[.:][\da-f.:]+$/u.test(f)),
  );
}

/** A host with `eth0` on the office's LAN and `eth1`, without an address, on the tasks' LAN; a peer there; a router. */
export class ClientHost extends TestWorld {
  readonly #before: Snapshot;

  constructor() {
    super();
    this.ip(HOST, "link set lo up"); // services listen there
    for (const lan of ["office", "tasks"]) this.lan(lan);
    for (const name of ["peer", "router", "desk"]) this.namespace(name);
    this.plug("office", HOST, "eth0", "192.168.10.22/24", "fd10::22/64");
    this.plug("tasks", HOST, "eth1");
    this.plug("tasks", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
    this.plug("tasks", "router", "eth0", "192.168.122.1/24", "fd22::1/64");
    this.plug("office", "router", "eth1", "192.168.10.1/24", "fd10::1/64");
    this.plug("office", "desk", "eth0", "192.168.10.30/24", "fd10::30/64");
    for (const family of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) this.sysctl("router", `net/${family}`, "1");
    this.route("desk", "eth0", "0.0.0.0/0", "192.168.10.1");
    this.route("desk", "eth0", "::/0", "fd10::1");
    webTree("/run/www");
    for (const namespace of [HOST, "peer", "desk"]) {
      const enter = namespace === HOST ? [] : ["nsenter", `--net=${namedNamespacePath(namespace)}`, "--"];
      Bun.spawn([...enter, "busybox", "httpd", "-f", "-p", "[::]:80", "-h", "/run/www"], {
        stdio: ["ignore", "ignore", "ignore"],
      });
    }
    this.#before = this.snapshot(HOST);
  }

  /** What a web server saw of an asker: the address that the request came from. Throws where none answers in 20 s. */
  #asks(namespace: string, ip: string, port = 80): string {
    for (const end = performance.now() + 20_000; ;) {
      try {
        const seen = this.run(namespace, ["timeout", "5", "busybox", "wget", "-q", "-O", "-", url(ip, port)]);
        return askerIn(seen);
      } catch (e) {
        if (performance.now() > end) throw e; // the container's server may not listen yet
        Bun.sleepSync(50);
      }
    }
  }

  /** Everything that is promised of a container, from outside and from inside, in both directions. */
  prove(c: Container): void {
    this.#proveLink(c);
    const found = this.#fromInside(c);
    for (const { address } of found) expect(address).toMatch(/^(192\.168\.122\.|fd22::)/u);
    for (const cidr of c.addresses) this.#proveTraffic(c, bare(cidr));
    const resolvers = [...c.inside("cat /etc/resolv.conf 2>/dev/null || true").matchAll(/^nameserver (\S+)$/gmu)];
    if (c.nameservers !== undefined) expect([...new Set(resolvers.map((m) => m[1] ?? ""))]).toEqual([...c.nameservers]);
    run(["berth", "check"]);
  }

  /** What answers on an address, asked from the host, the LAN peer and beyond the router, or from others: replies find their way. */
  answers(cidr: string, askers: readonly string[] = [HOST, "peer", "desk"]): void {
    const ip = bare(cidr);
    for (const from of askers) this.run(from, ["busybox", "ping", "-c", "1", "-W", "3", ip]);
  }

  /** That the host's own port leads to a container's web server, as the plugin `portmap` promises. */
  mapped(port: number): void {
    expect(this.#asks(HOST, HOST_IPS[0], port)).toBe(HOST_IPS[0]);
    expect(() => this.run(HOST, ["busybox", "wget", "-q", "-O", "-", url(HOST_IPS[0], port + 1)])).toThrow("refused");
  }

  /** The kernel's word on the link, by iproute2 from outside. */
  #proveLink(c: Container): void {
    const ip = (args: string): Record<string, Json>[] =>
      JSON.parse(run(["nsenter", `--net=${c.netns}`, "ip", "-j", "-d", ...args.split(" ")])) as Record<string, Json>[];
    const [link = {}] = ip("address show dev eth0");
    expect(link).toMatchObject({
      mtu: c.mtu ?? 1500,
      operstate: c.kind === "macvtap" ? expect.any(String) : "UP",
      linkinfo: { info_kind: c.kind, info_data: { mode: "bridge" } },
    });
    if (c.mac !== undefined) expect(link["address"]).toBe(c.mac);
    const all = link["addr_info"] as { scope: string; local: string; prefixlen: number }[];
    const addresses = all.filter((a) => a.scope === "global").map((a) => `${a.local}/${a.prefixlen}`);
    expect(addresses.toSorted()).toEqual([...c.addresses].toSorted());
    for (const cidr of c.addresses) {
      const family = isIpv6(cidr) ? "-6 " : "";
      const routes = ip(`${family}route show dev eth0`);
      expect(routes.map((r) => r["dst"])).toContain("default");
      const [toHost = {}] = ip(`route get ${isIpv6(cidr) ? HOST_IPS[1] : HOST_IPS[0]}`);
      expect(toHost).toMatchObject({ dev: "eth0", prefsrc: bare(cidr) }); // host access
      expect(toHost).not.toHaveProperty("gateway");
    }
  }

  /** What the container's own programs say of the same. */
  #fromInside(c: Container): { readonly address: string }[] {
    const link = c.inside("ip link show dev eth0");
    expect(link).toContain(`mtu ${c.mtu ?? 1500} `);
    if (c.mac !== undefined) expect(link).toContain(`link/ether ${c.mac} `);
    const said = c.inside("ip -o addr show dev eth0 scope global");
    const found = [...said.matchAll(/ inet6? (\S+?)\/(\d+) /gu)].map((m) => ({ address: m[1] ?? "", prefix: m[2] }));
    expect(found.map((f) => `${f.address}/${f.prefix}`).toSorted()).toEqual([...c.addresses].toSorted());
    expect(c.inside("ip route show")).toMatch(/^default via 192\.168\.122\.1 dev eth0/mu);
    return found;
  }

  /** Ping and TCP with the host, the LAN peer and beyond the router, each in both directions, with the right addresses. */
  #proveTraffic(c: Container, ip: string): void {
    const family = isIpv6(ip) ? 1 : 0;
    const others = { [HOST]: HOST_IPS[family], peer: PEER_IPS[family], desk: DESK_IPS[family] };
    for (const [namespace, other] of Object.entries(others)) {
      expect({ to: ip, from: namespace, seen: this.#asks(namespace, ip) }).toEqual({
        to: ip,
        from: namespace,
        seen: other,
      });
      this.run(namespace, ["busybox", "ping", "-c", "1", "-W", "3", ip]);
    }
    const script = Object.values(others).map(
      (other) => `ping -c 1 -W 3 ${other} >/dev/null && timeout 5 wget -q -O - '${url(other)}'`,
    );
    const seen = c.inside(script.join(" && ")).trim().split("\n");
    expect(seen.map(askerIn)).toEqual([ip, ip, ip]);
  }

  /** After removal: the host as it was, no address reserved, no record. */
  nothingIsLeft(): void {
    // a namespace whose last process has ended is taken apart when the kernel comes to it
    for (const end = performance.now() + 5000; performance.now() < end; Bun.sleepSync(50)) {
      if (Bun.deepEquals(this.snapshot(HOST), this.#before)) break;
    }
    expect(this.snapshot(HOST)).toEqual(this.#before);
    expect(reserved()).toEqual([]);
    expect(existsSync("/run/berth/attachments") ? readdirSync("/run/berth/attachments") : []).toEqual([]);
    expect(run(["berth", "ls", "--json"]).trim()).toBe("[]");
  }
}
