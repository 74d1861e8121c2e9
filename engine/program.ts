// What the engine runs: a CNI call. The order matters: the program expects the language and its surroundings.
import "./language.ts";
import "./surroundings.ts";
import { serveProcess } from "../src/cni/process.ts";
import { mark } from "../src/report/trace.ts";
import { host } from "./host.ts";

mark("start");
void serveProcess(host.calledAs).then(host.exit, (e: unknown) => {
  console.error(`berth: ${e instanceof Error ? `${e.message}\n${e.stack ?? ""}` : String(e)}`);
  host.exit(1);
});
