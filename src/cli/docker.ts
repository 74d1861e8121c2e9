// berth docker: the Docker network plugin.
import { buildCommand } from "@stricli/core";
import { serveDocker } from "../docker/server.ts";
import * as flag from "./flags.ts";
import { describeFailure, reporting } from "./output.ts";

const SOCKET = "/run/docker/plugins/berth.sock";

/** `berth docker`. */
export const dockerCommand = buildCommand({
  docs: {
    brief: "serve Docker as a network and IPAM plugin",
    fullDescription:
      "Serves libnetwork's remote network driver and IPAM driver protocols on a unix socket, until SIGTERM or SIGINT. The driver's name in Docker is the socket's file name without its ending. Containers keep their network while it is stopped.",
  },
  parameters: {
    flags: {
      socket: { kind: "parsed", parse: flag.text, brief: "the socket's path", default: SOCKET, placeholder: "PATH" },
    },
  },
  async func({ socket }: { readonly socket: string }) {
    await reporting(false, async () => {
      await using server = await serveDocker(socket, {
        failed: (failure) => console.error(`berth: ${describeFailure(failure)}`),
        refused: (path, failure) => console.error(`berth: ${path}: ${describeFailure(failure)}`),
      });
      console.log(`serving Docker on ${server.socket}`);
      await new Promise<void>((resolve) => {
        for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => resolve());
      });
    });
  },
});
