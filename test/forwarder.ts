// What QEMU's virtio-net does with a macvtap, for a namespace that stands for the virtual machine: every frame that one link
// receives is sent by another. One process a direction: bun test/forwarder.ts NAMESPACE FROM TO
import { Errno, SysError } from "../src/kernel/errno.ts";
import { bind, receive, send, setSocketInt } from "../src/kernel/libc.ts";
import { findLink } from "../src/kernel/links.ts";
import { openNamespace } from "../src/kernel/namespaces.ts";
import { linkAddress, openIn } from "../src/kernel/sockets.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL = 3;
// include/uapi/linux/if_packet.h
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;

const [path = "", from = "", to = ""] = process.argv.slice(2);
const namespace = openNamespace(path);
const nl = namespace.netlink();

/** A packet socket for all frames of a link. */
function socketOf(name: string): number {
  const link = findLink(nl, name);
  if (link === undefined) throw new Error(`there is no link ${name} in ${path}`);
  const fd = openIn(namespace, AF_PACKET, SOCK_RAW, 0, 1000);
  setSocketInt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
  bind(fd, linkAddress(link.index, ETH_P_ALL, new Uint8Array(6)));
  return fd;
}

const [source, target] = [socketOf(from), socketOf(to)];
const frame = new Uint8Array(65536);
console.log("ready");
for (;;) {
  try {
    send(target, frame.subarray(0, receive(source, frame)));
  } catch (e) {
    if (!(e instanceof SysError) || e.errno !== Errno.EAGAIN) throw e; // nothing came for a second
  }
}
