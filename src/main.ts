// Which name and which environment called us. Everything heavy is a lazy import: a CNI call shall not load the command.
import { calledAs, ownUmask, serveProcess } from "./cni/process.ts";
import { mark } from "./report/trace.ts";

mark("start");
const name = calledAs(process.argv0);
const verb = process.env["CNI_COMMAND"];
if (verb !== undefined && verb !== "") {
  process.exit(await serveProcess(name)); // at once: nothing else is to be waited for
} else if (name === "berth" || process.argv.length > 2) {
  const { cli } = await import("./cli/cli.ts");
  ownUmask();
  await cli(process.argv.slice(2));
} else {
  const { about } = await import("./cni/about.ts");
  console.log(about(name));
}
