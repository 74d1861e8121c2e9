// berth docker: the Docker network plugin.
import { buildCommand } from "@stricli/core";
import { serveDocker } from "../docker/server.ts";
import * as flag from "./flags.ts";
import { describeFailure, reporting } from "./output.ts";

const SOCKET = "/run/docker/plugins/berth.sock";
const DOCKER_SOCKET = "/run/docker.sock";
/** Seconds. */
const LOOK_EVERY = "60";

function seconds(value: string): number {
  if (/^[1-9]\d{0,5}$/u.test(value)) return Number(value);
  throw new SyntaxError(`${value} is no number of seconds`);
}

interface Flags {
  readonly socket: string;
  readonly dockerSocket: string;
  readonly lookEvery: number;
}

/** `berth docker`. */
export const dockerCommand = buildCommand({
  docs: {
    brief: "serve Docker as a network and IPAM plugin",
    fullDescription:
      "Serves libnetwork's remote network driver and IPAM driver protocols on a unix socket, until SIGTERM or SIGINT. The driver's name in Docker is the socket's file name without its ending. A socket that systemd passes (LISTEN_FDS) is served instead of one made at that path. Containers keep their network while it is stopped; networks that Docker removed meanwhile are found by asking Docker for its networks now and then.",
  },
  parameters: {
    flags: {
      socket: { kind: "parsed", parse: flag.text, brief: "the socket's path", default: SOCKET, placeholder: "PATH" },
      dockerSocket: {
        kind: "parsed",
        parse: flag.text,
        brief: "where dockerd is asked for its networks",
        default: DOCKER_SOCKET,
        placeholder: "PATH",
      },
      lookEvery: {
        kind: "parsed",
        parse: seconds,
        brief: "how often it is asked, seconds",
        default: LOOK_EVERY,
        placeholder: "SECONDS",
      },
    },
  },
  async func({ socket, dockerSocket, lookEvery }: Flags) {
    await reporting(false, async () => {
      await using server = await serveDocker(
        socket,
        {
          failed: (failure) => console.error(`berth: ${describeFailure(failure)}`),
          refused: (path, failure) => console.error(`berth: ${path}: ${describeFailure(failure)}`),
        },
        { socket: dockerSocket, everyMs: lookEvery * 1000 },
      );
      console.log(`serving Docker on ${server.socket}`);
      await new Promise<void>((resolve) => {
        for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => resolve());
      });
    });
  },
});
