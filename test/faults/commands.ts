// Faults of the command: berth gc and berth repair.
import { collectOrphans } from "../../src/attachment/collect.ts";
import { type AttachmentRecord, listRecords } from "../../src/attachment/record.ts";
import { repair } from "../../src/attachment/repair.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { call } from "../cni/call.ts";
import { HOST } from "../world.ts";
import type { FaultHost, Network } from "./host.ts";
import { clear, expectSame, expectUsable, runToEnd, type Scenario } from "./scenario.ts";
import type { SystemCall } from "./strace.ts";

/** The command reads the records before it does anything else. */
function readsRecords({ name, text }: SystemCall): boolean {
  return name === "openat" && text.includes('"/run/berth/attachments"');
}

function recordOfC(): AttachmentRecord {
  const record = listRecords(() => {}).find((r) => r.key.containerId === "c");
  if (record === undefined) throw new Error("there is no record of the attachment");
  return record;
}

/** `berth gc` after the container's namespace has gone. */
export function gcScenario(network: Network, executable: string): Scenario {
  return {
    verb: "berth gc",
    network,
    isOwn: readsRecords,
    async prepare(host) {
      await host.mustSucceed("ADD");
      const { netnsInode } = recordOfC();
      do {
        host.removeNamespace("c");
        host.container("c");
      } while (host.at("c")?.inode === netnsInode); // the kernel may give a number again
    },
    run: async (host, before) => await runToEnd([...before, executable, "gc"], host.environmentOf(""), "", "berth"),
    async settle(host, { how, out }, before, n) {
      if (how === "succeeded") expectSame(`berth gc succeeded (${out.trim()}), and`, host.state(), before);
      if (n % 3 === 0) {
        await collectOrphans();
        expectSame("after berth gc", host.state(), before);
      }
      await clear(host, before, n);
      await expectUsable(host, before);
    },
  };
}

/** `berth repair` after the host's part and most of the container's were taken away. */
export function repairScenario(network: Network, executable: string): Scenario {
  let prevResult: unknown;
  const expectGood = async (host: FaultHost, when: string): Promise<void> => {
    const check = await call("CHECK", { ...host.configOf("CHECK"), prevResult }, host.environmentOf("CHECK"));
    if (check.exitCode !== 0) throw new Error(`${when} CHECK answers ${check.text}`);
  };
  return {
    verb: "berth repair",
    network,
    isOwn: readsRecords,
    async prepare(host) {
      prevResult = (await host.mustSucceed("ADD")).json;
      host.deleteLink(HOST, "berth-eth1");
      host.netlink("c").do(changeLink("eth0", { up: false }));
      host.netlink("c").do(changeLink("eth0", { mac: "02:00:00:00:00:01" }));
    },
    run: async (host, before) => await runToEnd([...before, executable, "repair"], host.environmentOf(""), "", "berth"),
    async settle(host, { how, out }, before, n) {
      if (how === "succeeded") await expectGood(host, `berth repair succeeded (${out.trim()}), and`);
      if (n % 2 === 0) {
        await repair(recordOfC());
        await expectGood(host, "after another berth repair");
      }
      await clear(host, before, n >> 1);
      await expectUsable(host, before);
    },
  };
}
