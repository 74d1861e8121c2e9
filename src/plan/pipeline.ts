import { Errno, SysError } from "../kernel/errno.ts";
import { findLink } from "../kernel/links.ts";
import type { Netlink, Request } from "../kernel/netlink.ts";
import { Failure } from "../report/failure.ts";
import { KnownLinks } from "./known-links.ts";
import type { Places } from "./places.ts";
import type { Where } from "./step.ts";

/** What a request's error means: a failure, or nothing where it is to be tolerated. */
export type Judge = (error: SysError) => Failure | undefined;

/** Which attachment the host's route to an address belongs to, in words; undefined for none. */
export type OwnerOf = (ip: string) => string | undefined;

/** The attachments whose links are on one of the host's links, in words: those that their records name. */
export type AttachmentsOn = (parent: string) => readonly string[];

interface Queued {
  readonly step: number;
  readonly request: Request;
  readonly judge: Judge;
}

/** What a pipeline may be told beside where it acts. */
export interface PipelineOptions {
  /** Tells whose a route of Berth's is that stands in the way on the host; one that is nobody's any more is replaced. */
  readonly ownerOf?: OwnerOf;
  /** Tells who else is on a parent that refuses a link. */
  readonly attachmentsOn?: AttachmentsOn;
  /** Links that need not be looked up; those that were are added. */
  readonly links?: KnownLinks;
  /** Called when the plan begins to wait for seconds: the caller goes on with others meanwhile. Absent: the thread waits. */
  readonly waiting?: (() => void) | undefined;
}

/** An error of receiving an answer, not of carrying out the request. */
function isUnanswered({ errno }: SysError): boolean {
  return errno === Errno.EAGAIN || errno === Errno.ENOBUFS;
}

/** The plain judgement: the kernel refused. */
export function refused(error: SysError): Failure {
  return new Failure("kernel", error.message, { cause: error });
}

/** Does what asks the kernel by other means than netlink: a `SysError` becomes the plain judgement. */
export function orRefused<T>(f: () => T): T {
  try {
    return f();
  } catch (e) {
    throw e instanceof SysError ? refused(e) : e;
  }
}

/** A judge that tolerates some errors, as "it is gone already" when undoing. */
export function tolerating(...errnos: readonly number[]): Judge {
  return (error) => (errnos.includes(error.errno) ? undefined : refused(error));
}

/**
 * Sends the requests of many steps in few sends: one queue a namespace, emptied when a later step needs an answer or the
 * plan ends. Order within a namespace is kept. It knows which steps reached the kernel and which of them failed.
 */
export class Pipeline {
  readonly places: Places;
  /** Whose a route of Berth's on the host is, in words; undefined where no attachment claims it any more. */
  readonly ownerOf: OwnerOf;
  /** Which attachments are on a link of the host: who else may be in the way of a new one. */
  readonly attachmentsOn: AttachmentsOn;
  /** Tells the caller that it can go on with others; undefined where it has no others. */
  readonly waiting: (() => void) | undefined;
  readonly #queues: Record<Where, Queued[]> = { host: [], container: [] };
  readonly #links: KnownLinks;
  readonly #reached = new Set<number>();
  readonly #failed = new Map<number, Failure>();
  /** What the caller ought to know though the plan succeeds. */
  readonly remarks: string[] = [];
  #step = 0;

  constructor(places: Places, { ownerOf, attachmentsOn, links, waiting }: PipelineOptions = {}) {
    this.places = places;
    this.ownerOf = ownerOf ?? ((): undefined => undefined);
    this.attachmentsOn = attachmentsOn ?? ((): readonly string[] => []);
    this.waiting = waiting;
    this.#links = links ?? new KnownLinks();
  }

  /** What follows is the work of the step with this number. */
  begin(step: number): void {
    this.#step = step;
  }

  /** The current step changes something by other means than {@link send}: it has to be undone. */
  acts(): void {
    this.#reached.add(this.#step);
  }

  /** {@link acts} for later, when a request's judge changes something for the step that is the current one now. */
  actsLater(): () => void {
    const step = this.#step;
    return () => this.#reached.add(step);
  }

  /** Queues a request of the current step. Where the container's namespace is gone, nothing is sent. */
  send(where: Where, request: Request, judge: Judge = refused): void {
    this.#queues[where].push({ step: this.#step, request, judge });
  }

  /** Adds to {@link remarks}. */
  remark(sentence: string): void {
    this.remarks.push(sentence);
  }

  /** The current step failed by other means than a request. */
  fail(failure: Failure): void {
    if (!this.#failed.has(this.#step)) this.#failed.set(this.#step, failure);
  }

  /** Sends what is queued in both namespaces, the container's last queued link creations (from the host) first. */
  flush(): void {
    for (const where of ["host", "container"] as const) {
      const queue = this.#queues[where];
      if (queue.length === 0) continue;
      this.#queues[where] = [];
      const place = this.places.at(where);
      if (place === undefined) continue;
      const requests: Request[] = [];
      for (const { request } of queue) requests.push(request);
      const errors = place.netlink.batch(requests);
      for (const [i, { step, judge }] of queue.entries()) {
        const error = errors[i];
        // no answer is no refusal: such a request may have been carried out
        if (error === undefined || isUnanswered(error)) this.#reached.add(step);
        const failure = error === undefined ? undefined : judge(error);
        if (failure !== undefined && !this.#failed.has(step)) this.#failed.set(step, failure);
      }
    }
  }

  /** Empties the queues and throws the first failure of any step. */
  flushOrThrow(): void {
    this.flush();
    const first = this.failures()[0];
    if (first !== undefined) throw first;
  }

  /** The socket of a namespace, after everything queued was sent; undefined where the namespace is gone. */
  settled(where: Where): Netlink | undefined {
    this.flush();
    return this.places.at(where)?.netlink;
  }

  /** The index of a link, looked up once; everything queued is sent before. Undefined where there is no such link. */
  index(where: Where, name: string): number | undefined {
    const known = this.#links.get(where, name);
    if (known !== undefined) return known.index;
    const nl = this.settled(where);
    const link = nl === undefined ? undefined : findLink(nl, name);
    if (link !== undefined) this.#links.add(where, name, link);
    return link?.index;
  }

  /** {@link index} of a link that must be there: the first failure so far is thrown, or that there is no such link. */
  indexOrThrow(where: Where, name: string): number {
    const index = this.index(where, name);
    if (index !== undefined) return index;
    const first = this.failures()[0];
    if (first !== undefined) throw first;
    const place = where === "host" ? "on the host" : "in the container's namespace";
    throw new Failure("kernel", `look up link ${name} ${place}: there is no such link`);
  }

  /** The failures so far, in the order of their steps. */
  failures(): Failure[] {
    if (this.#failed.size === 0) return [];
    return [...this.#failed].toSorted(([a], [b]) => a - b).map(([, f]) => f);
  }

  /** True where the kernel carried out, or may have carried out, some of the step: it has to be undone. */
  applied(step: number): boolean {
    return this.#reached.has(step);
  }
}
