// What is wrong with a network's configuration, where, and in which words.
import * as v from "valibot";
import { Failure } from "../report/failure.ts";
import { NetworkConfig } from "./config.ts";

/** One thing that is wrong with a configuration. */
export interface ConfigIssue {
  /** Where, as `ipam.ranges[0][1].subnet`; empty for the whole. */
  readonly path: string;
  /** The value as JSON; undefined where the key is missing. */
  readonly value: string | undefined;
  /** What is allowed there. */
  readonly expected: string;
}

function pathOf(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const item of issue.path ?? []) {
    path += typeof item.key === "number" ? `[${item.key}]` : `${path === "" ? "" : "."}${String(item.key)}`;
  }
  return path;
}

/** Of a union's branches, the one the value was meant for: the branch that got deepest. */
function innermost(issue: v.BaseIssue<unknown>): v.BaseIssue<unknown> {
  const below = (issue.issues ?? []).filter((i) => (i.path?.length ?? 0) > 0);
  if (below.length === 0) return issue;
  const atType = below.find((i) => i.path?.at(-1)?.key === "type");
  const deepest = below.find((i) => i.path?.at(-1)?.key !== "type") ?? atType;
  if (deepest === undefined) return issue;
  const inner = innermost(deepest);
  return { ...inner, path: [...(issue.path ?? []), ...(inner.path ?? [])] as NonNullable<typeof inner.path> };
}

/** Checks a configuration that was parsed from JSON: the configuration, or all that is wrong with it. */
export function parseConfig(json: unknown): { config: NetworkConfig } | { issues: ConfigIssue[] } {
  const result = v.safeParse(NetworkConfig, json);
  if (result.success) return { config: result.output };
  return {
    issues: result.issues.map((outer) => {
      const issue = innermost(outer);
      const text = issue.input === undefined ? undefined : JSON.stringify(issue.input);
      const expected =
        issue.type === "check" || issue.type === "regex" ? issue.message : (issue.expected ?? issue.message);
      return { path: pathOf(issue), value: text, expected };
    }),
  };
}

/** A configuration issue as a sentence. */
export function describeIssue(issue: ConfigIssue): string {
  const where = issue.path === "" ? "the configuration" : issue.path;
  return issue.value === undefined
    ? `${where} is missing: it must be ${issue.expected}`
    : `${where} is ${issue.value}: it must be ${issue.expected}`;
}

/** {@link parseConfig} that throws `Failure` (`config`) naming every issue. */
export function readConfig(json: unknown): NetworkConfig {
  const result = parseConfig(json);
  if ("config" in result) return result.config;
  throw new Failure("config", `read the network configuration: ${result.issues.map(describeIssue).join("; ")}`, {
    advice: 'Check the file with "berth network check FILE".',
  });
}
