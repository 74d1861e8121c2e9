import { buildCommand } from "@stricli/core";
import { isOrphan } from "../attachment/record.ts";
import * as flag from "./flags.ts";
import { printJson, printTable, reporting } from "./output.ts";
import { allRecords } from "./records.ts";

/** `berth ls`. */
export const lsCommand = buildCommand({
  docs: { brief: "list the attachments" },
  parameters: { flags: { json: flag.json } },
  async func(flags: { readonly json: boolean }) {
    await reporting(flags.json, async () => {
      const rows = allRecords().map((r) => ({
        ...r.key,
        kind: r.kind,
        parent: r.parent,
        addresses: r.allocation?.ips.map((lease) => lease.address) ?? [],
        netns: r.netns,
        state: r.allocation === undefined ? "unfinished" : isOrphan(r) ? "namespace gone" : "attached",
        created: r.created,
      }));
      if (flags.json) return printJson(rows);
      if (rows.length === 0) return console.log("no attachments");
      printTable(
        ["NETWORK", "CONTAINER", "INTERFACE", "KIND", "PARENT", "ADDRESSES", "NAMESPACE", "STATE", "CREATED"],
        rows.map((r) => [
          r.network,
          r.containerId,
          r.ifName,
          r.kind,
          r.parent,
          r.addresses.join(","),
          r.netns,
          r.state,
          r.created,
        ]),
      );
    });
  },
});
