// Requests to a cloud's services: time limits, certificates, and a second try of what is safe to repeat.
import { parseJson } from "../ipam/json.ts";
import { readFile } from "../kernel/files.ts";
import { Failure } from "../report/failure.ts";
import { callId, log } from "../report/log.ts";
import { withoutUser } from "../report/redact.ts";
import { version } from "../report/version.ts";
import { MAX_ANSWER } from "./carrier.ts";
import type { Credentials } from "./credentials.ts";

/** How long one answer may take, milliseconds. */
const TIMEOUT_MS = 30_000;
/** How often what is safe to repeat is tried. */
const TRIES = 4;
/** The first pause before a further try, milliseconds; each next one is twice as long, and chance takes up to half of it. */
const PAUSE_MS = 250;
/** A server that is overloaded or away says so by these; the request was not carried out, or can be repeated. */
const away: ReadonlySet<number> = new Set([429, 502, 503, 504]);

class TooLong extends Error {}

/** A request. */
export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** What is attempted, for sentences: `create a port on private`. */
  readonly doing: string;
  /** Whether carrying it out twice is the same as once. */
  readonly repeatable: boolean;
}

/** What was answered. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The body, parsed; undefined where it is empty or no JSON. */
  readonly json: unknown;
  /** The service's name for this request, as its logs have it. */
  readonly requestId: string | undefined;
}

/** A pause that grows with the number of tries before, with some chance in it, so that many do not come back at once. */
export async function pause(triesBefore: number, firstMs: number): Promise<void> {
  await Bun.sleep(firstMs * 2 ** triesBefore * (0.5 + Math.random() / 2));
}

/** Asks a cloud's services. Nothing is remembered between requests. */
export class Http {
  readonly #tls: { ca?: string; rejectUnauthorized?: boolean };
  readonly #timeoutMs: number;

  /** Throws `Failure` (`io`) where the file of certificates cannot be read. */
  constructor({ caFile, verify }: Pick<Credentials, "caFile" | "verify">, timeoutMs = TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs;
    this.#tls = {
      ...(caFile === undefined ? {} : { ca: certificates(caFile) }),
      rejectUnauthorized: verify, // said in any case: NODE_TLS_REJECT_UNAUTHORIZED=0 stands for what is not said
    };
  }

  /**
   * Sends a request and waits for its answer, whatever its status. Where there is none, or the service says that it is away,
   * what is repeatable is tried again before. Throws `Failure`: `busy` where there is no answer in time, `config` where the
   * server's certificate is not accepted.
   */
  async send(request: Request): Promise<Answer> {
    for (let tried = 0; ; tried++) {
      const last = !request.repeatable || tried + 1 >= TRIES;
      try {
        const answer = await this.#once(request);
        if (!away.has(answer.status) || last) return answer;
      } catch (e) {
        if (isUntrusted(e)) throw untrusted(request, e);
        if (e instanceof TooLong) throw new Failure("decode", `${request.doing}: ${e.message}`);
        if (last) throw unanswered(request, reasonOf(e, this.#timeoutMs), e);
      }
      await pause(tried, PAUSE_MS);
    }
  }

  async #once({ method, url, headers, body }: Request): Promise<Answer> {
    const start = performance.now();
    const response = await fetch(url, {
      method,
      headers: {
        accept: "application/json",
        "user-agent": `berth/${version}`,
        "x-openstack-request-id": callId(), // services log it as global_request_id beside their own
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: "error",
      signal: AbortSignal.timeout(this.#timeoutMs),
      tls: this.#tls,
      verbose: false, // BUN_CONFIG_VERBOSE_FETCH would print tokens
    });
    const content = await limited(response);
    log("debug", "request", () => ({
      method,
      url: withoutUser(url),
      status: response.status,
      ms: Math.round(performance.now() - start),
      answer: response.headers.get("x-openstack-request-id"),
    }));
    return {
      status: response.status,
      headers: response.headers,
      json: parsed(content),
      requestId: response.headers.get("x-openstack-request-id") ?? undefined,
    };
  }
}

/** True for a URL that a cloud's service can have. Parsers read generously: a tab within "http:" would be skipped. */
export function isHttp(url: string): boolean {
  return /^https?:\/\/\S+$/u.test(url) && URL.canParse(url);
}

/** An answer's body. Throws where it is longer than any that a cloud gives. */
async function limited(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, length] = ["", 0];
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > MAX_ANSWER) throw new TooLong(`the answer is longer than ${MAX_ANSWER} bytes`);
    text += decoder.decode(part, { stream: true });
  }
  return text + decoder.decode();
}

function certificates(path: string): string {
  try {
    return readFile(path);
  } catch (e) {
    throw new Failure("io", `read the certificates ${path}: ${e instanceof Error ? e.message : String(e)}`, {
      advice: 'It is the cloud\'s "cacert".',
      cause: e,
    });
  }
}

function parsed(content: string): unknown {
  if (content === "") return undefined;
  try {
    return parseJson(content, "read the answer");
  } catch {
    return undefined;
  }
}

function reasonOf(e: unknown, timeoutMs: number): string {
  if (e instanceof Error && e.name === "TimeoutError") return `no answer within ${timeoutMs} ms`;
  // the rest of Bun's sentence is advice to programmers
  return e instanceof Error ? e.message.replace(/\.? For more information, pass .*$/u, "") : String(e);
}

function codeOf(e: unknown): string {
  return e instanceof Error && "code" in e ? String(e.code) : "";
}

/** OpenSSL's verdicts on a certificate, as DEPTH_ZERO_SELF_SIGNED_CERT. */
function isUntrusted(e: unknown): boolean {
  return /CERT|VERIFY/u.test(codeOf(e));
}

function untrusted({ doing, method, url }: Request, cause: unknown): Failure {
  const otherName = codeOf(cause) === "ERR_TLS_CERT_ALTNAME_INVALID";
  return new Failure("config", `${doing}: ${method} ${withoutUser(url)}: the server's certificate: ${codeOf(cause)}`, {
    advice: otherName
      ? "The certificate is for another name than the URL's: use the name that it was made for."
      : 'Name the cloud\'s certificates with "cacert" in clouds.yaml (OS_CACERT).',
    cause,
  });
}

function unanswered({ doing, method, url }: Request, why: string, cause: unknown): Failure {
  return new Failure("busy", `${doing}: ${method} ${withoutUser(url)}: ${why}`, {
    advice: "Look whether the host reaches the cloud's API; then try again.",
    cause,
  });
}
