// systemd's units of packaging/, read as far as they confine a service.
import { readFileSync } from "node:fs";
import type { Confinement } from "./confine.ts";

/** A unit's settings by name; one that stands several times has all its values. */
export function unit(name: string): ReadonlyMap<string, readonly string[]> {
  const text = readFileSync(new URL(`../../packaging/${name}`, import.meta.url), "utf8");
  const settings = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^(\w+)=(.*)$/u.exec(line) ?? [];
    if (key !== undefined && value !== undefined) settings.set(key, [...(settings.get(key) ?? []), value]);
  }
  return settings;
}

/** The words of a setting. */
export function wordsOf(settings: ReadonlyMap<string, readonly string[]>, name: string): string[] {
  return (settings.get(name) ?? []).flatMap((value) => value.split(/\s+/u)).filter((word) => word !== "");
}

/** How a unit confines its service. */
export function confinementOf(name: string): Confinement {
  const settings = unit(name);
  return {
    capabilities: wordsOf(settings, "CapabilityBoundingSet"),
    systemCalls: wordsOf(settings, "SystemCallFilter"),
    families: wordsOf(settings, "RestrictAddressFamilies"),
    ...(settings.get("ProtectSystem")?.[0] === "strict" ? { writable: wordsOf(settings, "ReadWritePaths") } : {}),
  };
}
