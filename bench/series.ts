// What a series of measurements is given, and gives.
import type { World } from "../src/lab/world.ts";
import { Attachment } from "./calls.ts";
import type { Count, Measured } from "./pairs.ts";
import { type Config, networkConfig, type Plugin } from "./plugins.ts";

/** One line of the table. */
export interface Row extends Measured {
  readonly name: string;
  readonly unit: "ms" | "MiB" | "Gbit/s" | "s/GB" | "µs" | "frames";
  /** The median ratio that is aimed at, at most. */
  readonly target?: number;
  /** The median of Berth's own values that is aimed at, at most. */
  readonly limit?: number;
  /** What is in the peer's columns where that is not the peer doing the same. */
  readonly beside?: string;
}

/** What the rows are measured with. */
export interface Bench {
  readonly world: World;
  /** The host's NIC on the LAN. */
  readonly parent: string;
  /** Berth, and the peer where there is one. */
  readonly plugins: readonly Plugin[];
  readonly count: Count;
  /** How many attachments make the rows "at once". */
  readonly together: number;
  /** How many attachments the largest host has, how many `berth up` makes, how many addresses are reserved. */
  readonly sizes: { readonly host: readonly number[]; readonly site: number; readonly reserved: number };
}

/** The sizes that the targets of growing worlds are about: smaller ones, as of a quick run, neither meet nor miss them. */
export const TARGET_SIZES = { host: 4000, site: 1000, reserved: 60_000 } as const;

/** A target where it is about a world of this size. */
export function targetAt(size: number, about: keyof typeof TARGET_SIZES, target: number): { readonly target?: number } {
  return size >= TARGET_SIZES[about] ? { target } : {};
}

/** A measurement that gives some rows. */
export interface Series {
  readonly name: string;
  readonly run: (bench: Bench) => Promise<Row[]>;
}

/**
 * Attachments in namespaces that are all made beforehand; looked up by side and number.
 * @param extra further configuration of Berth alone
 */
export function prepare(
  bench: Bench,
  label: string,
  count: number,
  extra: Config = {},
): (plugin: Plugin, n: number) => Attachment {
  const made = new Map<string, Attachment>();
  for (const plugin of bench.plugins) {
    const config = networkConfig(plugin.side, label, bench.parent, plugin.side === "berth" ? extra : {});
    for (let n = 0; n < count; n++) {
      const containerId = `${label}-${plugin.side}-${n}`;
      const netns = bench.world.namespace(containerId);
      made.set(`${plugin.side} ${n}`, new Attachment(plugin, { containerId, netns }, config));
    }
  }
  return (plugin, n) => {
    const attachment = made.get(`${plugin.side} ${n}`);
    if (attachment === undefined) throw new Error(`no attachment ${n} of ${plugin.side} was prepared`);
    return attachment;
  };
}
