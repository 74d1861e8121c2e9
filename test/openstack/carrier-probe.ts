// What requests come to, of which several are under way at once: run by the engine and by the runtime, which shall say the same.
// The answers are one line of JSON.
import { writeDescriptor } from "../../src/kernel/files.ts";
import { Http } from "../../src/openstack/http.ts";
import { asFailure } from "../../src/report/failure.ts";

const url = process.env["PROBED"] ?? "";
const patient = new Http({ verify: true });
const hasty = new Http({ verify: true }, 300);

async function ask(http: Http, path: string, body?: unknown): Promise<unknown> {
  const method = body === undefined ? "GET" : "PUT";
  try {
    const { status, json } = await http.send({ method, url: url + path, body, doing: path, repeatable: false });
    return [status, json];
  } catch (e) {
    const { reason, message } = asFailure(e, path);
    return [reason, message];
  }
}

async function answers(): Promise<unknown> {
  const waiting = ask(patient, "/waits");
  const together = ["/a", "/b", "/c"].map((path) => ask(patient, path));
  const silent = ask(hasty, "/silent");
  await Bun.sleep(20);
  const opening = await ask(patient, "/opens");
  const long = await ask(patient, "/echo", { text: "é\u{1F600}\uD800".repeat(700_000) });
  return [await waiting, await Promise.all(together), await silent, opening, long];
}

void answers().then((all) => {
  writeDescriptor(1, `${JSON.stringify(all)}\n`, "stdout");
  process.exit(7);
});
