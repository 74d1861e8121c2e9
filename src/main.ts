// Which name and which environment called us. Everything heavy is a lazy import: a CNI call shall not load the command.
import { cni, ownStdin, ownStdout, ownUmask } from "./cni/cni.ts";
import { mark, traced } from "./report/trace.ts";

mark("start");
const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
const verb = process.env["CNI_COMMAND"];
if (verb !== undefined && verb !== "") {
  ownUmask();
  mark("modules loaded");
  const answer = await cni(process.env, ownStdin, name);
  for (const remark of answer.remarks) console.error(`berth: ${remark}`);
  let { exitCode } = answer;
  try {
    if (answer.text !== "") ownStdout(`${answer.text}\n`);
  } catch (e) {
    exitCode = 1; // console.log would say nothing; a runtime that got no answer takes back what was done
    console.error(`berth: ${e instanceof Error ? e.message : String(e)}`);
  }
  mark("printed");
  for (const line of traced()) console.error(line);
  process.exit(exitCode); // at once: all was written, and nothing else is to be waited for
} else if (name === "berth" || process.argv.length > 2) {
  const { cli } = await import("./cli/cli.ts");
  ownUmask();
  await cli(process.argv.slice(2));
} else {
  const { about } = await import("./cni/about.ts");
  console.log(about(name));
}
