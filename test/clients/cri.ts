// The Container Runtime Interface as a kubelet speaks it (runtime.v1 of k8s.io/cri-api): gRPC over HTTP/2 on a unix socket.
// The few messages are put together by hand, so that no generated code is needed.
import { connect, type IncomingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";

/** A message to be written: field numbers and values; a list is a message in its turn. */
type Fields = readonly (readonly [number, string | number | Fields])[];

/** A message that was read: each field's values, messages and strings as bytes. */
type Message = ReadonlyMap<number, readonly (number | Uint8Array)[]>;

function varint(n: number): number[] {
  return n > 0x7f ? [(n % 0x80) | 0x80, ...varint(Math.floor(n / 0x80))] : [n];
}

function encode(fields: Fields): Uint8Array {
  const bytes = fields.flatMap(([number, value]) => {
    if (typeof value === "number") return [...varint(number * 8), ...varint(value)];
    const content = typeof value === "string" ? new TextEncoder().encode(value) : encode(value);
    return [...varint(number * 8 + 2), ...varint(content.length), ...content];
  });
  return Uint8Array.from(bytes);
}

/** Reads a message of varint and length-delimited fields. Throws on other wire types. */
function decode(bytes: Uint8Array): Message {
  const found = new Map<number, (number | Uint8Array)[]>();
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    const values = found.get(key >> 3) ?? [];
    found.set(key >> 3, values);
    if ((key & 7) === 0) values.push(number());
    else if ((key & 7) === 2) {
      const length = number();
      values.push(bytes.subarray(at, (at += length)));
    } else throw new Error(`field ${key >> 3} has the wire type ${key & 7}`);
  }
  return found;
}

/** A field's value as text; empty where it is absent. */
function textOf(message: Message, field: number): string {
  const [value] = message.get(field) ?? [];
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : "";
}

/** A field's value as a message; an empty one where it is absent. */
function messageIn(message: Message, field: number): Message {
  const [value] = message.get(field) ?? [];
  return value instanceof Uint8Array ? decode(value) : new Map<number, never[]>();
}

/** A verbose answer's entry, which is JSON; undefined where it is absent. */
function information(answer: Message, name: string): unknown {
  for (const entry of answer.get(2) ?? []) {
    const pair = entry instanceof Uint8Array ? decode(entry) : new Map<number, never[]>();
    if (textOf(pair, 1) === name) return JSON.parse(textOf(pair, 2));
  }
  return undefined;
}

/** One unary call. Throws with the status's message where it is not OK. */
async function call(socket: string, method: string, fields: Fields): Promise<Message> {
  const session = connect("http://localhost", { createConnection: () => connectSocket(socket) });
  try {
    return await new Promise<Message>((resolve, reject) => {
      session.on("error", reject);
      const stream = session.request({
        ":method": "POST",
        ":path": `/runtime.v1.RuntimeService/${method}`,
        "content-type": "application/grpc",
        te: "trailers",
      });
      const chunks: Uint8Array[] = [];
      let status: string | undefined;
      const note = (headers: IncomingHttpHeaders): void => {
        const code = headers["grpc-status"];
        if (code !== undefined && String(code) !== "0") {
          status = `${method}: status ${String(code)}: ${decodeURIComponent(String(headers["grpc-message"]))}`;
        }
      };
      stream.on("response", note);
      stream.on("trailers", note);
      stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      stream.on("error", reject);
      stream.on("end", () => {
        // a length-prefixed message: one byte of flags, four of length
        if (status === undefined) resolve(decode(Buffer.concat(chunks).subarray(5)));
        else reject(new Error(status));
      });
      const body = encode(fields);
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(body.length, 1);
      stream.end(Buffer.concat([prefix, body]));
    });
  } finally {
    session.close();
  }
}

/** A pod sandbox as the runtime reports it. */
export interface Pod {
  readonly id: string;
  /** Addresses, the primary one first. */
  readonly ips: readonly string[];
}

/** The runtime behind a socket. */
export class Cri {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Creates a pod sandbox, which is where its networks are added. Throws with the runtime's words. */
  async run(name: string, hostPort?: number): Promise<Pod> {
    const port: Fields =
      hostPort === undefined
        ? []
        : [
            [
              5,
              [
                [1, 0],
                [2, 80],
                [3, hostPort],
              ],
            ],
          ];
    const metadata: Fields = [
      [1, name],
      [2, `${name}-uid`],
      [3, "default"],
    ];
    const config: Fields = [
      [1, metadata],
      [2, name],
      ...port,
      [
        6,
        [
          [1, "app"],
          [2, name],
        ],
      ],
      [8, [[1, "/cri"]]],
    ];
    const id = textOf(await call(this.#socket, "RunPodSandbox", [[1, config]]), 1);
    const status = await call(this.#socket, "PodSandboxStatus", [[1, id]]);
    const network = messageIn(messageIn(status, 1), 5);
    const more = (network.get(2) ?? []).flatMap((ip) => (ip instanceof Uint8Array ? [textOf(decode(ip), 1)] : []));
    return { id, ips: [textOf(network, 1), ...more] };
  }

  /** Where the sandbox's namespace is. */
  async netns(id: string): Promise<string> {
    const verbose: Fields = [
      [1, id],
      [2, 1],
    ];
    const info = information(await call(this.#socket, "PodSandboxStatus", verbose), "info");
    const { runtimeSpec } = info as { runtimeSpec: { linux: { namespaces: { type: string; path?: string }[] } } };
    return runtimeSpec.linux.namespaces.find((n) => n.type === "network")?.path ?? "";
  }

  /** The texts of the network configurations that the runtime has read. */
  async networks(): Promise<string[]> {
    const info = information(await call(this.#socket, "Status", [[1, 1]]), "cniconfig");
    const read = info as { Networks?: { Config: { Source: string } }[] } | undefined;
    return (read?.Networks ?? []).map((n) => n.Config.Source);
  }

  /** Stops a sandbox: its networks are deleted. Stopping it again is success. */
  async stop(id: string): Promise<void> {
    await call(this.#socket, "StopPodSandbox", [[1, id]]);
  }

  /** Removes a stopped sandbox. */
  async remove(id: string): Promise<void> {
    await call(this.#socket, "RemovePodSandbox", [[1, id]]);
  }
}
