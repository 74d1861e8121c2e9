// Which name and which environment called us. Each has its own code, which nobody else waits for: the process that carries
// requests is waited for by a CNI call.
const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
const verb = process.env["CNI_COMMAND"];
if (verb !== undefined && verb !== "") {
  const { serveProcess } = await import("./cni/process.ts");
  process.exit(await serveProcess(name)); // at once: nothing else is to be waited for
} else if (name === "berth-carrier") {
  const { carry } = await import("./openstack/carrier.ts");
  await carry();
} else if (name === "berth" || process.argv.length > 2) {
  const [{ cli }, { ownUmask }] = await Promise.all([import("./cli/cli.ts"), import("./cni/process.ts")]);
  ownUmask();
  await cli(process.argv.slice(2));
} else {
  const { about } = await import("./cni/about.ts");
  console.log(about(name));
}
