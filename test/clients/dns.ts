// A DNS server that knows one name, for resolvers that ask on the LAN: `dns.ts NAME ADDRESS`, on port 53 of every address.
const [name = "", address = ""] = process.argv.slice(2);

/** A name as it stands in a question (RFC 1035 section 4.1.2). */
const labels = name.split(".").map((label) => [label.length, ...Buffer.from(label)]);
const question = Buffer.from([...labels.flat(), 0, 0, 1, 0, 1]); // type A, class IN

/** The answer to a query: the address, or that there is no such name. */
function answerTo(query: Buffer): Buffer {
  const asked = query.subarray(12, 12 + question.length);
  const known = asked.equals(question);
  const header = Buffer.from([...query.subarray(0, 2), 0x81, known ? 0x80 : 0x83, 0, 1, 0, known ? 1 : 0, 0, 0, 0, 0]);
  const end = query.indexOf(0, 12) + 5; // what may follow the question is left out
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)]);
  return Buffer.concat([header, query.subarray(12, end), ...(known ? [record] : [])]);
}

await Bun.udpSocket({
  port: 53,
  hostname: "0.0.0.0",
  socket: {
    data(socket, query, port, from) {
      socket.send(answerTo(query), port, from);
    },
  },
});
