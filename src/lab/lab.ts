// Entering the lab: namespaces of its own, made with util-linux's unshare, so that it needs no root and touches nothing.
import { readFileSync } from "node:fs";
import { mount, MS_PRIVATE, MS_REC } from "../kernel/libc.ts";
import { Failure } from "../report/failure.ts";
import { type LabOptions, self } from "./session.ts";

/** The stories. */
const stories = {
  routing: async (options: LabOptions, pid: string) => (await import("./routing.ts")).routing(options, pid),
  tunnels: async (options: LabOptions, pid: string) => (await import("./tunnels.ts")).tunnels(options, pid),
};

const INSIDE = "BERTH_LAB";
const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** Runs a lab; the exit status. Throws `Failure` where this host lets nobody make namespaces. */
export async function runLab(story: keyof typeof stories, options: LabOptions): Promise<number> {
  if (process.env[INSIDE] === story) return await inside(story, options);
  const p = Bun.spawn(["unshare", ...howToUnshare(options), ...namespaces, ...self(), ...process.argv.slice(2)], {
    env: { ...process.env, [INSIDE]: story },
    stdio: ["pipe", "inherit", "inherit"],
  });
  process.on("SIGINT", () => {}); // with --keep Ctrl-C ends the lab; this process waits for it
  await p.stdin.write(await childOf(p.pid));
  await p.stdin.end();
  return await p.exited;
}

/** The flags by which this user may make namespaces. Throws `Failure` with the sysctls to set where there are none. */
function howToUnshare({ vm }: LabOptions): string[] {
  const isRoot = process.getuid?.() === 0;
  if (vm !== undefined && !isRoot) {
    throw new Failure(
      "unavailable",
      "run virtual machines: their macvtaps have device nodes, which root alone may make",
      {
        advice: "Run it as root (sudo), or without --vm: then a namespace stands for each of them.",
      },
    );
  }
  let answer = "";
  for (const user of vm === undefined ? [["--user", "--map-root-user"], []] : [[]]) {
    if (user.length === 0 && !isRoot) break;
    // mounting sysfs is what Ubuntu's restriction forbids although unshare itself succeeds
    const probe = Bun.spawnSync(["unshare", ...user, ...namespaces, "mount", "-t", "sysfs", "sysfs", "/sys"]);
    if (probe.exitCode === 0) return user;
    answer ||= probe.stderr.toString().trim();
  }
  throw new Failure("unavailable", `make namespaces for the lab: ${answer}`, {
    advice: [
      "Run it as root, or allow user namespaces, whichever of these the host has:",
      "    sysctl -w kernel.unprivileged_userns_clone=1               (Debian)",
      "    sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu)",
      "    sysctl -w user.max_user_namespaces=10000                   (RHEL, hardened hosts)",
      "In a container, start it with CAP_SYS_ADMIN and without the default seccomp profile.",
    ],
  });
}

/** The process inside, as this side numbers it. */
async function childOf(pid: number): Promise<string> {
  for (let i = 0; i < 500; i++) {
    try {
      const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
      if (child !== undefined && child !== "") return child;
    } catch {
      return ""; // it has ended already
    }
    await Bun.sleep(2);
  }
  return "";
}

async function inside(story: keyof typeof stories, options: LabOptions): Promise<number> {
  const pid = readFileSync(0, "utf8");
  mount("none", "/", "", MS_REC | MS_PRIVATE);
  mount("sysfs", "/sys", "sysfs", 0); // the former one shows the outer namespace's links
  mount("tmpfs", "/run", "tmpfs", 0, "mode=0755");
  mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=0755");
  return await stories[story](options, pid);
}
