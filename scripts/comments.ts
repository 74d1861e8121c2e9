// npm run check: every exported declaration in src/, and every public method of an exported class, has a doc comment. What
// implements an interface is documented there.
import { readdirSync, readFileSync } from "node:fs";

const root = new URL("../src/", import.meta.url).pathname;
const declaration = /^export (async )?(function|class|const|interface|type) (\w+)/u;
const method = /^ {2}(?:static |async |get )*([a-z]\w*)[<(].*\{$/u;
const statements = new Set(["constructor", "if", "for", "while", "switch", "return", "catch"]);

let bad = 0;
for (const file of readdirSync(root, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts"))) {
  const lines = readFileSync(root + file, "utf8").split("\n");
  let open = false; // in an exported class that implements no interface but Disposable
  lines.forEach((line, i) => {
    if (line.startsWith("export class ")) open = !/ implements (?!Disposable)/u.test(line);
    if (line === "}") open = false;
    const member = open ? method.exec(line)?.[1] : undefined;
    const name = declaration.exec(line)?.[3] ?? (member !== undefined && !statements.has(member) ? member : undefined);
    if (name === undefined || lines[i - 1]?.trim().endsWith("*/") === true) return;
    console.error(`src/${file}:${i + 1}: ${name} has no doc comment`);
    bad++;
  });
}
if (bad > 0) process.exitCode = 1;
