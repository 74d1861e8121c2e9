import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { contentOf, describeHolder, Reservations } from "../../src/ipam/reservations.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { Failure } from "../../src/report/failure.ts";
import { holder, network } from "./contract.ts";
import { freshDataDir, isSameFile, modeOf, reservations, sideFiles } from "./state.ts";

let dataDir: string;
let directory: string;
let state: Reservations;

beforeEach(() => {
  dataDir = freshDataDir();
  directory = `${dataDir}/${network}`;
  state = new Reservations(dataDir, network);
});

/** Reserves under the lock, as a process of its own would. */
function reserve(ip: string, id = "a"): boolean {
  const own = new Reservations(dataDir, network);
  using _lock = own.lock();
  return own.reserve(ip, contentOf(holder(id)));
}

/** What a reboot does to the state: the side files belong to another boot. */
function reboot(): void {
  renameSync(`${directory}/.berth/${bootId()}`, `${directory}/.berth/11111111-2222-3333-4444-555555555555`);
}

describe("on disk", () => {
  test("a reservation is the standard plugin's file, and a hard link to the side file", () => {
    expect(reserve("10.0.0.2", "4f5c")).toBe(true);
    expect(readFileSync(`${directory}/10.0.0.2`, "utf8")).toBe("4f5c\r\neth0");
    expect(isSameFile(`${directory}/10.0.0.2`, `${directory}/.berth/${bootId()}/10.0.0.2`)).toBe(true);
  });

  test("files are 0600, directories 0755 but Berth's own 0700", () => {
    reserve("10.0.0.2");
    reserve("10.0.0.3");
    state.remember(0, "10.0.0.3");
    expect(["10.0.0.2", "10.0.0.3", "lock", "last_reserved_ip.0"].map((f) => modeOf(`${directory}/${f}`))).toEqual([
      0o600, 0o600, 0o600, 0o600,
    ]);
    expect(modeOf(directory)).toBe(0o755);
    expect(modeOf(`${directory}/.berth`)).toBe(0o700);
    expect(modeOf(`${directory}/.berth/${bootId()}`)).toBe(0o700);
  });

  test("IPv6 addresses are named as the standard plugin names them", () => {
    reserve("2001:db8::a");
    expect([...reservations(dataDir, network).keys()]).toEqual(["2001:db8::a"]);
  });

  test("releasing removes the side file too", () => {
    reserve("10.0.0.2");
    state.release("10.0.0.2");
    expect(reservations(dataDir, network).size).toBe(0);
    expect(sideFiles(dataDir, network)).toEqual([]);
  });

  test("nothing is made to look or to release", () => {
    expect(state.lockIfPresent()).toBeUndefined();
    expect([state.holderOf("10.0.0.2"), state.last(0), state.list(), state.names().size]).toEqual([
      undefined,
      undefined,
      [],
      0,
    ]);
    expect(state.isFree("10.0.0.2")).toBe(true);
    expect(existsSync(directory)).toBe(false);
  });

  test("only files that are named by an address are reservations", () => {
    reserve("10.0.0.2");
    for (const name of ["10.0.0.02", "README", "2001:DB8::1", "10.0.0.2.tmp"])
      writeFileSync(`${directory}/${name}`, "a\r\neth0");
    expect(state.list()).toEqual([{ ip: "10.0.0.2", content: "a\r\neth0" }]);
  });

  test("the last address of each set is remembered; nonsense there is none", () => {
    using _lock = state.lock();
    state.remember(0, "10.0.0.7");
    state.remember(1, "2001:db8::7");
    expect([state.last(0), state.last(1), state.last(2)]).toEqual(["10.0.0.7", "2001:db8::7", undefined]);
    writeFileSync(`${directory}/last_reserved_ip.0`, "");
    expect(state.last(0)).toBeUndefined();
  });
});

describe("a taken address", () => {
  test("is not given again", () => {
    expect(reserve("10.0.0.2", "a")).toBe(true);
    expect(reserve("10.0.0.2", "b")).toBe(false);
    expect(state.holderOf("10.0.0.2")).toBe("a\r\neth0");
    expect(sideFiles(dataDir, network)).toEqual(["10.0.0.2"]);
  });

  test.each(["", " \r\n", "\0\0\0\0"])("with the content %j is nobody's, and is replaced", (blank) => {
    reserve("10.0.0.3");
    writeFileSync(`${directory}/10.0.0.2`, blank);
    expect(state.isBlank("10.0.0.2")).toBe(true);
    expect(state.holderOf("10.0.0.2")).toBeUndefined();
    expect(reserve("10.0.0.2", "b")).toBe(true);
    expect(readFileSync(`${directory}/10.0.0.2`, "utf8")).toBe("b\r\neth0");
  });

  test("whose other name is left over from a kill is given", () => {
    reserve("10.0.0.3");
    writeFileSync(`${directory}/.berth/${bootId()}/10.0.0.2`, "killed\r\neth0");
    expect(reserve("10.0.0.2", "b")).toBe(true);
    expect(isSameFile(`${directory}/10.0.0.2`, `${directory}/.berth/${bootId()}/10.0.0.2`)).toBe(true);
    expect(state.holderOf("10.0.0.2")).toBe("b\r\neth0");
  });
});

describe("after a reboot", () => {
  test("what Berth reserved is released, what the standard plugin reserved is not", () => {
    reserve("10.0.0.2");
    reserve("10.0.0.3");
    writeFileSync(`${directory}/10.0.0.4`, "standard\r\neth0");
    // released by the standard plugin of old, which knew no side files, and given to another
    rmSync(`${directory}/10.0.0.3`);
    writeFileSync(`${directory}/10.0.0.3`, "standard\r\neth1");
    reboot();
    expect([...state.names()].filter((n) => n.startsWith("10")).toSorted()).toEqual(["10.0.0.3", "10.0.0.4"]);
    expect(state.isFree("10.0.0.2")).toBe(true);
    expect(state.isFree("10.0.0.3")).toBe(false);
    expect(reservations(dataDir, network).size).toBe(3);
    reserve("10.0.0.5");
    expect([...reservations(dataDir, network).keys()].toSorted()).toEqual(["10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    expect(readdirSync(`${directory}/.berth`)).toEqual([bootId()]);
  });

  test("releasing and collecting tidy up as well", () => {
    reserve("10.0.0.2");
    reboot();
    new Reservations(dataDir, network).lockIfPresent()?.[Symbol.dispose]();
    expect(reservations(dataDir, network).size).toBe(0);
    expect(readdirSync(`${directory}/.berth`)).toEqual([]);
  });

  test("a kill between two releases is made up for by the next who takes the lock", () => {
    reserve("10.0.0.2");
    reserve("10.0.0.3");
    reboot();
    rmSync(`${directory}/10.0.0.2`);
    reserve("10.0.0.9");
    expect([...reservations(dataDir, network).keys()]).toEqual(["10.0.0.9"]);
  });

  test("what else lies in Berth's directory is left alone", () => {
    reserve("10.0.0.2");
    reboot();
    writeFileSync(`${directory}/.berth/note`, "");
    reserve("10.0.0.3");
    expect(readdirSync(`${directory}/.berth`).toSorted()).toEqual([bootId(), "note"].toSorted());
  });
});

/** The addresses that are reserved. */
function list(): string[] {
  return [...reservations(dataDir, network).keys()].toSorted();
}

describe("a holder's addresses", () => {
  test("are found by looking through all", () => {
    reserve("10.0.0.2", "a");
    reserve("10.0.0.3", "b");
    reserve("10.0.0.4", "a");
    using _lock = state.lock();
    expect(state.releaseHolder(holder("a"), []).toSorted()).toEqual(["10.0.0.2", "10.0.0.4"]);
    expect(list()).toEqual(["10.0.0.3"]);
  });

  test("are looked through for where one of the hinted is not the holder's", () => {
    reserve("10.0.0.2", "a");
    reserve("10.0.0.3", "b");
    reserve("10.0.0.4", "a");
    using _lock = state.lock();
    expect(state.releaseHolder(holder("a"), ["10.0.0.2", "10.0.0.3"]).toSorted()).toEqual(["10.0.0.2", "10.0.0.4"]);
    expect(list()).toEqual(["10.0.0.3"]);
  });

  test("are not looked through for where all hinted are the holder's", () => {
    reserve("10.0.0.2", "a");
    reserve("10.0.0.4", "a");
    using _lock = state.lock();
    expect(state.releaseHolder(holder("a"), ["10.0.0.2"])).toEqual(["10.0.0.2"]);
    expect(list()).toEqual(["10.0.0.4"]);
  });

  test("in the old form, the id alone, count where there is no other", () => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(`${directory}/10.0.0.2`, "a");
    writeFileSync(`${directory}/10.0.0.3`, "a\n");
    reserve("10.0.0.4", "a");
    using _lock = state.lock();
    expect(state.releaseHolder(holder("a"), [])).toEqual(["10.0.0.4"]);
    expect(state.releaseHolder(holder("a"), []).toSorted()).toEqual(["10.0.0.2", "10.0.0.3"]);
    expect(list()).toEqual([]);
  });
});

describe("names that are none are refused before the disk is touched:", () => {
  test.each(["", " ", ".", "..", "a/b", "../lan", "a\nb", "a\r\nb", "a\0b"])("%j", (name) => {
    for (const attempt of [
      () => new Reservations(dataDir, name),
      () => contentOf(holder(name)),
      () => contentOf(holder("a", name)),
    ]) {
      expect(attempt).toThrow(Failure);
      expect(attempt).toThrow("that is no name");
    }
    expect(existsSync(directory)).toBe(false);
  });
});

test("a holder in words", () => {
  expect(describeHolder("4f5c\r\neth0")).toBe("container 4f5c (eth0)");
  expect(describeHolder("4f5c")).toBe("container 4f5c");
});
