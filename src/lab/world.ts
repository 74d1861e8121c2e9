// Hosts and LANs made of namespaces, by Berth's own netlink alone: the lab needs no other program.
import { parseCidr } from "../address/cidr.ts";
import { newAddress } from "../kernel/addresses.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import {
  changeLink,
  deleteLink,
  findLink,
  type Link,
  newBridge,
  newSubInterface,
  newVethPair,
} from "../kernel/links.ts";
import { addNamedNamespace, deleteNamedNamespace, type Namespace, openNamespace } from "../kernel/namespaces.ts";
import { Netlink } from "../kernel/netlink.ts";
import { newRoute, type Route } from "../kernel/routes.ts";
import { writeSysctl } from "../kernel/sysctls.ts";

/** The name of the namespace that the world is built in: the host. */
export const HOST = "";
/** rtm_protocol of a route that an administrator made. */
const RTPROT_STATIC = 4;
/** Where the LANs' bridges are, so that they are no links of the host. */
const SWITCHES = "lans";

/** Namespaces, LANs and what is plugged into them. Disposing of it removes everything that it made. */
export class World implements Disposable {
  readonly #namespaces = new Map<string, Namespace>();
  readonly #sockets = new Map<string, Netlink>();
  /** Links on the host, in the order they were made. */
  readonly #links: string[] = [];
  #ports = 0;

  /** Makes a namespace, reachable by path (as CNI_NETNS) and by name (`ip netns`), its loopback up; its path. */
  namespace(name: string): string {
    const path = addNamedNamespace(name);
    this.#namespaces.set(name, openNamespace(path));
    this.netlink(name).do(changeLink("lo", { up: true }));
    return path;
  }

  /** Removes a namespace before the world ends. */
  removeNamespace(name: string): void {
    this.#sockets.get(name)?.[Symbol.dispose]();
    this.#sockets.delete(name);
    this.#namespaces.get(name)?.[Symbol.dispose]();
    this.#namespaces.delete(name);
    deleteNamedNamespace(name);
  }

  /** An open namespace; undefined for the host, as the kernel floor wants it. */
  at(name: string): Namespace | undefined {
    if (name === HOST) return undefined;
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) throw new Error(`there is no namespace ${name} in this world`);
    return namespace;
  }

  /** An rtnetlink socket in a namespace. */
  netlink(name: string): Netlink {
    let socket = this.#sockets.get(name);
    if (socket === undefined) {
      socket = this.at(name)?.netlink() ?? new Netlink();
      this.#sockets.set(name, socket);
    }
    return socket;
  }

  /** Makes a LAN: a bridge in a namespace of its own. */
  lan(name: string): void {
    if (!this.#namespaces.has(SWITCHES)) this.namespace(SWITCHES);
    const nl = this.netlink(SWITCHES);
    nl.do(newBridge(name));
    nl.do(changeLink(name, { up: true }));
  }

  /** Plugs a namespace into a LAN by a NIC with addresses (CIDRs; IPv6 without duplicate address detection). */
  plug(lan: string, namespace: string, nic: string, ...addresses: string[]): void {
    const switches = this.netlink(SWITCHES);
    const port = `port${++this.#ports}`; // a name made of the others would be cut at 15 characters, and so not be unique
    using home = openNamespace("/proc/thread-self/ns/net");
    switches.do(newVethPair(port, nic, this.at(namespace)?.fd ?? home.fd));
    // the kernel takes a namespace apart some time after its end: what is on the host must go before, or its name stays taken
    if (namespace === HOST) this.#links.push(nic);
    switches.do(changeLink(port, { masterIndex: this.link(SWITCHES, lan).index, up: true }));
    this.netlink(namespace).do(changeLink(nic, { up: true }));
    for (const address of addresses) this.address(namespace, nic, address);
  }

  /** Adds an address, a CIDR, to a link. */
  address(namespace: string, link: string, address: string): void {
    const cidr = parseCidr(address);
    if (cidr === undefined) throw new Error(`${address} is no CIDR`);
    this.netlink(namespace).do(newAddress(this.link(namespace, link).index, link, cidr, "off"));
  }

  /** Adds a route through a link. */
  route(namespace: string, link: string, dst: string, gateway?: string): void {
    const cidr = parseCidr(dst);
    if (cidr === undefined) throw new Error(`${dst} is no CIDR`);
    const route: Route = { dst: cidr, ...(gateway === undefined ? {} : { gateway }) };
    this.netlink(namespace).do(newRoute(route, this.link(namespace, link).index, link, { protocol: RTPROT_STATIC }));
  }

  /** Makes a sub-interface of a host's NIC, on the host; it goes with the NIC. */
  subInterface(parent: string, name: string, detail: SubInterface, up = true): void {
    const parentIndex = this.link(HOST, parent).index;
    this.netlink(HOST).do(newSubInterface({ name, parentIndex, parentName: parent, detail }));
    this.#links.push(name);
    if (up) this.netlink(HOST).do(changeLink(name, { up: true }));
  }

  /** A link that must be there. */
  link(namespace: string, name: string): Link {
    const link = findLink(this.netlink(namespace), name);
    if (link === undefined) throw new Error(`there is no link ${name} in namespace "${namespace}"`);
    return link;
  }

  /** Deletes a link; one that is gone is success. */
  deleteLink(namespace: string, name: string): void {
    const nl = this.netlink(namespace);
    const link = findLink(nl, name);
    if (link !== undefined) nl.do(deleteLink(link.index, name));
  }

  /** Runs synchronous code in a namespace; see `Namespace.run`. */
  within<T>(namespace: string, f: () => T & (T extends PromiseLike<unknown> ? never : unknown)): T {
    const at = this.at(namespace);
    return at === undefined ? f() : at.run(f);
  }

  /** Sets a sysctl in a namespace. */
  sysctl(namespace: string, key: string, value: string): void {
    this.within(namespace, () => writeSysctl(key, value));
  }

  /** Removes everything, and goes on where something cannot be removed. Throws the first error at the end. */
  [Symbol.dispose](): void {
    const errors: unknown[] = [];
    const attempt = (f: () => void): void => {
      try {
        f();
      } catch (e) {
        errors.push(e);
      }
    };
    for (const link of this.#links.toReversed()) attempt(() => this.deleteLink(HOST, link));
    for (const name of this.#namespaces.keys()) attempt(() => this.removeNamespace(name));
    for (const socket of this.#sockets.values()) attempt(() => socket[Symbol.dispose]());
    this.#links.length = 0;
    this.#sockets.clear();
    if (errors.length > 0) throw errors[0];
  }
}
