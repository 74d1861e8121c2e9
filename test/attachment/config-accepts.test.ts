// What is accepted without the schema is what the schema accepts, and reads the same.
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { accepts } from "../../src/attachment/config-accepts.ts";
import { NetworkConfig, networkKeys } from "../../src/attachment/config.ts";
import { parseConfig } from "../../src/attachment/config-issues.ts";
import { readConfigQuickly } from "../../src/attachment/quick-config.ts";
import { failureOf } from "../failing.ts";

const directory = new URL("../../examples/", import.meta.url).pathname;

/** Berth's configurations among the examples. */
function examples(): Record<string, unknown>[] {
  return readdirSync(directory)
    .filter((name) => /\.conf(list)?$/u.test(name))
    .flatMap((name) => {
      const { plugins, ...rest } = JSON.parse(readFileSync(directory + name, "utf8")) as Record<string, unknown>;
      return Array.isArray(plugins) ? plugins.map((p: object): Record<string, unknown> => ({ ...rest, ...p })) : [rest];
    })
    .filter((json) => "config" in parseConfig(json));
}

/** Values of the sorts that configurations hold, right and wrong ones. */
const scalar = fc.oneof(
  fc.constantFrom(
    "",
    "eth1",
    "a/b",
    "auto",
    "own",
    "bridge",
    "l2",
    "802.1q",
    "host-local",
    "static",
    "neutron",
    "dhcp",
  ),
  fc.constantFrom(
    "10.0.0.0/24",
    "10.0.0.5",
    "010.0.0.5",
    "fd00::/64",
    "fd00::1",
    "fd00::g",
    "02:00:00:00:00:01",
    "02-00",
  ),
  fc.integer({ min: -2, max: 70_000 }),
  fc.constantFrom(1.5, true, false, null),
);
const keys = fc.constantFrom(
  ...Object.keys(networkKeys),
  ...`type subnet rangeStart ranges routes dst gw mtu addresses address link metric table names mac cni ips cidr ip
    org.apache.mesos network_info labels key probes nameservers ipRanges other __proto__ constructor`.split(/\s+/u),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(keys, tie("value"), { maxKeys: 4 }),
  ),
}));

/** A configuration that is right, with some values exchanged. */
const mutated = fc
  .tuple(fc.constantFrom(...examples()), fc.array(fc.tuple(fc.nat(), fc.boolean(), keys, value), { maxLength: 3 }))
  .map(([example, changes]) => {
    const json = JSON.parse(JSON.stringify(example)) as Record<string, unknown>;
    for (const [pick, into, key, other] of changes) {
      let place: Record<string, unknown> = json;
      const inner = Object.keys(place)[pick % Object.keys(place).length] ?? "";
      const within = place[inner];
      if (into && typeof within === "object" && within !== null) place = within as Record<string, unknown>;
      const present = Object.keys(place);
      place[pick % 3 === 0 ? key : (present[pick % Math.max(present.length, 1)] ?? key)] = other;
    }
    return JSON.parse(JSON.stringify(json)) as unknown;
  });

test("every example is", () => {
  const all = examples();
  expect(all.length).toBeGreaterThan(5);
  for (const json of all) expect({ json, accepted: accepts(json) }).toEqual({ json, accepted: true });
});

test("whatever is, the schema accepts and leaves as it is but for defaults; what is not, the schema judges", async () => {
  let [accepted, refused] = [0, 0];
  await fc.assert(
    fc.asyncProperty(fc.oneof({ weight: 4, arbitrary: mutated }, value), async (json) => {
      const parsed = parseConfig(json);
      if (accepts(json)) {
        accepted++;
        if (!("config" in parsed)) throw new Error(`the schema refuses it: ${JSON.stringify(parsed.issues)}`);
        expect(await readConfigQuickly(json)).toEqual(parsed.config);
        return;
      }
      refused++;
      if ("config" in parsed) expect(await readConfigQuickly(json)).toEqual(parsed.config);
      else
        expect((await failureOf(Promise.resolve(readConfigQuickly(json)))).message).toStartWith(
          "read the network configuration: ",
        );
    }),
    { numRuns: 4000 },
  );
  expect(accepted).toBeGreaterThan(200);
  expect(refused).toBeGreaterThan(200);
});

/** True where the schema accepts it without a part of it. */
function dropping(json: unknown): boolean {
  const parsed = parseConfig(json);
  const whole = { cniVersion: "0.1.0", linkInContainer: false, ...(json as object) };
  return "config" in parsed && !Bun.deepEquals(parsed.config, whole);
}

test("nearly all that the schema accepts is: no more than a dropped key is left to it", () => {
  fc.assert(
    fc.property(mutated, (json) => {
      if ("config" in parseConfig(json) && !dropping(json)) expect(accepts(json)).toBe(true);
    }),
    { numRuns: 2000 },
  );
  expect(NetworkConfig.type).toBe("loose_object"); // unknown keys of the whole are kept
});
