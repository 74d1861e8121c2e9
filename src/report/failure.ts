import { plain } from "./plain.ts";

/**
 * What went wrong, as a class of problem. A face translates it into its own protocol's code (for CNI: cni/error.ts).
 *
 * | reason | meaning |
 * |---|---|
 * | version | a protocol version that is not supported |
 * | config | a network configuration that cannot work |
 * | request | the caller's request (environment, options) is wrong or incomplete |
 * | decode | text that cannot be parsed |
 * | namespace | a network namespace that is missing or is none |
 * | missing | an attachment that is not there |
 * | io | a file or a socket |
 * | busy | try again later |
 * | kernel | the kernel refused a step |
 * | address | no address free, or the wanted one is not |
 * | exists | the attachment, or something in its place, is there already |
 * | differs | what the kernel says is not what was planned |
 * | incomplete | something could not be undone |
 * | cloud | a cloud refused |
 * | delegate | a program that was asked to help failed |
 * | unavailable | no new attachment can be made |
 * | limited | no new attachment can be made, and existing ones suffer |
 * | internal | a defect in Berth |
 */
export type Reason =
  | "version"
  | "config"
  | "request"
  | "decode"
  | "namespace"
  | "missing"
  | "io"
  | "busy"
  | "kernel"
  | "address"
  | "exists"
  | "differs"
  | "incomplete"
  | "cloud"
  | "delegate"
  | "unavailable"
  | "limited"
  | "internal";

/** What a {@link Failure} may carry beside its sentence. */
export interface FailureOptions {
  /** What to do about it: one or more sentences for the person who has the problem; a list has a line for each. */
  readonly advice?: string | readonly string[];
  /** A CNI error code that was decided elsewhere, as by a delegated plugin. */
  readonly code?: number;
  /** True where something of what failed could not be undone, and is left behind. */
  readonly incomplete?: boolean;
  /** What lies beneath: the error of the system. */
  readonly cause?: unknown;
}

/**
 * The one error type for everything that is not a defect: its message says what was attempted, on what, and what the
 * system answered; `advice` says what to do. It is never wrapped in another.
 */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly reason: Reason;
  readonly advice: string | undefined;
  readonly code: number | undefined;
  readonly incomplete: boolean;

  constructor(reason: Reason, message: string, options: FailureOptions = {}) {
    super(plain(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    const { advice } = options;
    this.advice = typeof advice === "string" ? plain(advice) : advice?.map(plain).join("\n");
    this.code = options.code;
    this.incomplete = options.incomplete === true;
  }
}

/**
 * Any thrown value as a {@link Failure}: a `Failure` stays itself, anything else is one whose message is prefixed with what
 * was being done: of reason `kernel` where the system refused a call (its error has an `errno`), else an `internal` one.
 */
export function asFailure(thrown: unknown, doing: string): Failure {
  if (thrown instanceof Failure) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const refused = thrown instanceof Error && "errno" in thrown;
  return new Failure(refused ? "kernel" : "internal", `${doing}: ${text}`, { cause: thrown });
}
