// ping OPTION… ADDRESS, where Debian's is not installed: one echo request, for the commands of docs/.
import { ping } from "../src/kernel/icmp.ts";

const address = process.argv.at(-1) ?? "";
const answer = ping(undefined, address, { timeoutMs: 2000 });
console.log(answer.ok ? `${address} answered in ${answer.milliseconds.toFixed(2)} ms` : `${address}: ${answer.why}`);
process.exitCode = answer.ok ? 0 : 1;
