import { buildCommand } from "@stricli/core";
import { guestJson, tapPathOf } from "../attachment/guest.ts";
import type { Key } from "../attachment/key.ts";
import { type AttachmentRecord, type GuestRecord, isOrphan } from "../attachment/record.ts";
import { OWN_NAMESPACE } from "../kernel/namespaces.ts";
import * as flag from "./flags.ts";
import { printJson, printTable, reporting } from "./output.ts";
import { allRecords } from "./records.ts";

function stateOf(r: AttachmentRecord): string {
  if (r.allocation === undefined) return "unfinished";
  if (isOrphan(r)) return r.guest?.process === undefined ? "namespace gone" : "its process gone";
  return r.guest?.held === true ? "kept down" : "attached";
}

interface Row extends Key {
  readonly kind: string;
  readonly parent: string;
  readonly addresses: readonly string[];
  readonly netns: string;
  readonly guest?: GuestRecord & { readonly commands: readonly string[] };
  readonly tap?: string;
  readonly state: string;
  readonly created: string;
}

async function rowOf(r: AttachmentRecord): Promise<Row> {
  const tap = r.guest === undefined ? undefined : tapPathOf(r);
  return {
    ...r.key,
    kind: r.kind,
    parent: r.parent,
    addresses: r.allocation?.ips.map((lease) => lease.address) ?? [],
    netns: r.netns,
    ...(r.guest === undefined ? {} : { guest: await guestJson(r.guest) }),
    ...(tap === undefined ? {} : { tap }),
    state: stateOf(r),
    created: r.created,
  };
}

/** `berth ls`. */
export const lsCommand = buildCommand({
  docs: { brief: "list the attachments" },
  parameters: { flags: { json: flag.json } },
  async func(flags: { readonly json: boolean }) {
    await reporting(flags.json, async () => {
      const rows = await Promise.all(allRecords().map(rowOf));
      if (flags.json) return printJson(rows);
      if (rows.length === 0) return console.log("no attachments");
      printTable(
        ["NETWORK", "CONTAINER", "INTERFACE", "KIND", "PARENT", "ADDRESSES", "NAMESPACE", "TAP", "STATE", "CREATED"],
        rows.map((r) => [
          r.network,
          r.containerId,
          r.ifName,
          r.kind,
          r.parent,
          r.addresses.join(","),
          r.netns === OWN_NAMESPACE ? "the host's" : r.netns,
          r.tap ?? "",
          r.state,
          r.created,
        ]),
      );
    });
  },
});
