// The engine has no HTTP of its own (docs/design: Two engines): another process of the program carries its requests to the
// cloud's services, and is its parser of YAML and of URLs. This file is that process, and the frames that the two exchange.

/** Where that process finds its end of the pair of sockets (engine/carrier.c). */
const DESCRIPTOR = 3;

/** Bytes of an answer that are read at most. A list of a thousand ports has about one million. */
export const MAX_ANSWER = 64 << 20;

/** What the engine asks for. */
export type Asked = { readonly id: number } & (
  | {
      readonly fetch: string;
      /** All that fetch is told but for its signal. */
      readonly init: RequestInit;
      /** Absent: as the request before has them. */
      readonly tls?: BunFetchRequestInit["tls"];
      readonly timeoutMs: number;
    }
  | { readonly yaml: string }
  | { readonly url: string }
);

/** What it is answered; the body of an HTTP answer goes behind it. */
export type Answered = { readonly id: number } & (
  | { readonly status: number; readonly headers: Readonly<Record<string, string>> }
  | { readonly value: unknown }
  | { readonly error: { readonly name: string; readonly message: string; readonly code?: string } }
);

/** Bytes before each frame: how long its JSON is, how long what goes behind it (little-endian). */
export const FRAME_START = 8;

/** A frame. */
export function frame(head: Asked | Answered, body: Uint8Array = new Uint8Array(0)): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(head));
  const bytes = new Uint8Array(FRAME_START + json.length + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, json.length, true);
  view.setUint32(4, body.length, true);
  bytes.set(json, FRAME_START);
  bytes.set(body, FRAME_START + json.length);
  return bytes;
}

/** How long the two parts of a frame are. */
export function partsOf(start: Uint8Array): readonly [json: number, body: number] {
  const view = new DataView(start.buffer, start.byteOffset);
  return [view.getUint32(0, true), view.getUint32(4, true)];
}

let tls: BunFetchRequestInit["tls"];

async function fetched(asked: Extract<Asked, { fetch: string }>): Promise<Uint8Array> {
  tls = asked.tls ?? tls;
  const signal = AbortSignal.timeout(asked.timeoutMs);
  const response = await fetch(asked.fetch, { ...asked.init, signal, ...(tls === undefined ? {} : { tls }) });
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    parts.push(part);
    length += part.length;
    if (length > MAX_ANSWER) break; // so much is too long for whoever reads it
  }
  const head = { id: asked.id, status: response.status, headers: Object.fromEntries(response.headers) };
  return frame(head, new Uint8Array(Bun.concatArrayBuffers(parts)));
}

async function answer(asked: Asked): Promise<Uint8Array> {
  const { id } = asked;
  try {
    if ("fetch" in asked) return await fetched(asked);
    const value = "yaml" in asked ? Bun.YAML.parse(asked.yaml) : (URL.parse(asked.url)?.search ?? null);
    return frame({ id, value });
  } catch (e) {
    const { name, message } = e instanceof Error ? e : new Error(String(e));
    return frame({
      id,
      error: { name, message, ...(e instanceof Error && "code" in e ? { code: String(e.code) } : {}) },
    });
  }
}

/** Bytes that are on their way out of a socket, which does not take all at once. */
class Outgoing {
  readonly #waiting: Uint8Array[] = [];

  put(socket: Bun.Socket, bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    if (this.#waiting.length === 1) this.flush(socket);
  }

  /** As many as the socket takes now. */
  flush(socket: Bun.Socket): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const sent = socket.write(first);
      if (sent < first.length) {
        this.#waiting[0] = first.subarray(Math.max(0, sent));
        return;
      }
      this.#waiting.shift();
    }
  }
}

function end(): never {
  process.exit(0);
}

/** Answers what comes until the other end is closed, with which the process ends. Throws what the runtime says of the descriptor. */
export async function carry(): Promise<void> {
  let held = new Uint8Array(0);
  const outgoing = new Outgoing();
  const serve = async (socket: Bun.Socket, asked: Asked): Promise<void> => {
    const bytes = await answer(asked);
    outgoing.put(socket, bytes);
  };
  // its types know nothing of descriptors
  const options: Bun.TCPSocketConnectOptions & { readonly fd: number } = {
    fd: DESCRIPTOR,
    hostname: "",
    port: 0,
    socket: {
      binaryType: "uint8array",
      data(socket, bytes: Uint8Array) {
        held = new Uint8Array(Bun.concatArrayBuffers([held, bytes]));
        while (held.length >= FRAME_START) {
          const [json, body] = partsOf(held);
          const length = FRAME_START + json + body;
          if (held.length < length) return;
          const text = new TextDecoder().decode(held.subarray(FRAME_START, FRAME_START + json));
          held = held.slice(length);
          void serve(socket, JSON.parse(text) as Asked);
        }
      },
      drain: (socket) => outgoing.flush(socket),
      end,
      close: end,
      error: end,
    },
  };
  await Bun.connect(options);
}
