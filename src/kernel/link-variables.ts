// Variables of a link (sysctl net/ipv4/conf/LINK/… and net/ipv6/conf/LINK/…) over rtnetlink: IFLA_AF_SPEC of
// include/uapi/linux/if_link.h. A look-up below /proc/sys/net goes past every link of that name on the machine, and needs the
// thread in the namespace; a message does neither. Netlink shows those of both families, and sets those of IPv4.
import { changeLink, findLinkAttributes, IFLA_AF_SPEC } from "./links.ts";
import type { Netlink, Request } from "./netlink.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_INET_CONF = 1;
const IFLA_INET6_CONF = 2;

/** Numbers of IPv4 variables, from 1 on: IPV4_DEVCONF_… of include/uapi/linux/ip.h. */
const numbers4: Readonly<Record<string, number>> = { arp_ignore: 19, arp_notify: 22 };
/** Of IPv6 variables, from 0 on: DEVCONF_… of include/uapi/linux/ipv6.h. */
const numbers6: Readonly<Record<string, number>> = { disable_ipv6: 26, ndisc_notify: 29 };

/** One variable of one link. */
export interface LinkVariable {
  readonly link: string;
  readonly family: 4 | 6;
  readonly number: number;
}

/** The variable that a sysctl's key names, `net/ipv4/conf/eth0/arp_notify`; undefined for one that is no link's, or not known here. */
export function linkVariable(key: string): LinkVariable | undefined {
  const [net, protocol, conf, link, name] = key.split("/");
  if (net !== "net" || conf !== "conf" || link === undefined || name === undefined) return undefined;
  const family = protocol === "ipv4" ? 4 : 6;
  const number = (family === 4 ? numbers4 : numbers6)[name];
  return number === undefined || link === "all" || link === "default" ? undefined : { link, family, number };
}

/** Sets a variable of IPv4. ENODEV where the link is not there. */
export function setLinkVariable({ link, number }: LinkVariable, what: string, value: string): Request {
  return { ...changeLink(link, { ipv4: { number, value: Number(value) } }), what };
}

/** A variable's value as its sysctl shows it; undefined where there is no such link, or it has no such protocol. Throws `SysError`. */
export function readLinkVariable(nl: Netlink, { link, family, number }: LinkVariable): string | undefined {
  const spec = findLinkAttributes(nl, link)?.nested(IFLA_AF_SPEC);
  const values =
    family === 4 ? spec?.nested(AF_INET).bytes(IFLA_INET_CONF) : spec?.nested(AF_INET6).bytes(IFLA_INET6_CONF);
  const at = (family === 4 ? number - 1 : number) * 4;
  if (values === undefined || at + 4 > values.length) return undefined;
  return `${new DataView(values.buffer, values.byteOffset).getInt32(at, true)}`;
}
