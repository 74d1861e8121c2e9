// Socket activation: systemd listens, and starts the plugin when Docker calls it for the first time.
import { connect, createServer, type Server, type Socket } from "node:net";
import { Failure } from "../report/failure.ts";

/** The first descriptor that systemd passes (sd_listen_fds(3), SD_LISTEN_FDS_START). */
const FIRST = 3;

/**
 * The listening socket that this process was started with (sd_listen_fds(3)); undefined where it was started with none. What
 * it starts itself is told of none. Throws `Failure` (`config`) where there are several.
 */
export function inheritedSocket(env: NodeJS.ProcessEnv = process.env, pid = process.pid): number | undefined {
  const { LISTEN_PID, LISTEN_FDS } = env;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  if (LISTEN_PID !== `${pid}` || LISTEN_FDS === undefined || LISTEN_FDS === "0") return undefined;
  if (LISTEN_FDS === "1") return FIRST;
  throw new Failure("config", `listen on the socket of LISTEN_FDS: there are ${LISTEN_FDS}`, {
    advice: "The socket unit needs one ListenStream alone.",
  });
}

/** Ends both where one of them breaks. */
function join(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on("error", () => to.destroy());
    from.pipe(to);
  }
}

/** Passes each connection of a listening socket on to another socket: Bun's HTTP server listens to none that it is given. */
export async function passOn(descriptor: number, socket: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    join(client, connect({ path: socket, allowHalfOpen: true }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd: descriptor }, resolve);
  });
  return server;
}
