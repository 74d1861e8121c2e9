// Requests and answers, as both services of the double take and give them.
import type { IncomingHttpHeaders } from "node:http";

/** A request, read to its end. */
export interface Question {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** As it was sent. */
  readonly text: string;
}

/** An answer; a body of undefined is none at all. */
export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal, in the words of the real service. */
export class Refused extends Error {
  readonly status: number;
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

/** Parsed JSON as an object; undefined for anything else. */
export function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** A value as text: its own where it is one. */
export function textOf(value: unknown, otherwise = ""): string {
  if (typeof value === "string") return value;
  return value === undefined ? otherwise : JSON.stringify(value);
}
