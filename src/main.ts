// Which name and which environment called us. Everything heavy is a lazy import: a CNI call shall not load the command.
const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
const verb = process.env["CNI_COMMAND"];
if (verb !== undefined && verb !== "") {
  const { cni } = await import("./cni/cni.ts");
  const { readFileSync } = await import("node:fs");
  const answer = await cni(process.env, () => readFileSync(0, "utf8"), name);
  for (const remark of answer.remarks) console.error(`berth: ${remark}`);
  if (answer.text !== "") console.log(answer.text);
  process.exitCode = answer.exitCode;
} else if (name === "berth" || process.argv.length > 2) {
  const { cli } = await import("./cli/cli.ts");
  await cli(process.argv.slice(2));
} else {
  const { about } = await import("./cni/about.ts");
  console.log(about(name));
}
