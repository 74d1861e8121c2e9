// ADDRESS PORT: one TCP connection to an echo server, a numbered line every 50 ms. Prints each number that came back; ends
// with status 1 as soon as the connection does, or answers with anything else.
const [hostname = "", port = ""] = process.argv.slice(2);
let received = "";
let expected = 1;
const fail = (why: string): never => {
  console.log(`the connection ended: ${why}`);
  process.exit(1);
};
const socket = await Bun.connect({
  hostname,
  port: Number(port),
  socket: {
    data(_, bytes) {
      received += Buffer.from(bytes).toString("latin1");
      for (let at = received.indexOf("\n"); at >= 0; at = received.indexOf("\n")) {
        const line = received.slice(0, at);
        received = received.slice(at + 1);
        if (line !== `${expected}`) fail(`${line} came in place of ${expected}`);
        console.log(`${expected++}`);
      }
    },
    close: () => void fail("closed"),
    error: (_, e) => void fail(String(e)),
  },
});
let n = 0;
setInterval(() => socket.write(`${++n}\n`), 50);
