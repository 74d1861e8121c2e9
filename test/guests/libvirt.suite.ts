// libvirt's own domains with the interface that `berth vm libvirt-xml` prints: on Berth's macvtap, and on one that libvirt makes.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent } from "../../src/lab/agent.ts";
import { newBridge } from "../../src/kernel/links.ts";
import { HOST, TestWorld, until } from "../world.ts";
import { images } from "./images.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const CONFIG = "/run/tasks.conf";
const DIRECTORY = "/run/libvirt-suite";
const SOCKET = "/run/libvirt/libvirt-sock";
const { small } = images();

/** No users but root's, no cgroups, no other mounts for QEMU: libvirtd runs here without systemd. */
const SETTINGS = `
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
`;
/** Hides what libvirtd keeps; it insists on a user of its own, whom its other package makes. */
const START = `
for path in /var/log /var/lib /var/cache/libvirt; do mount -t tmpfs tmpfs $path; done
mkdir -p /var/log/libvirt/qemu /var/lib/libvirt
for file in passwd group libvirt; do mount --bind "$0/$file" /etc/$file; done
LIBVIRT_LOG_OUTPUTS=2:stderr exec libvirtd 2>"$0/log"
`;

let w: TestWorld;
let daemon: Bun.Subprocess;

beforeAll(async () => {
  w = new TestWorld();
  w.lan("office");
  w.lan("tasks");
  w.namespace("peer");
  w.plug("office", HOST, "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", HOST, "eth1");
  w.plug("tasks", "peer", "eth0", "192.168.122.9/24", "fd22::9/64");
  // libvirt opens /dev/tapN by the link's index, which links of other namespaces have too: high ones are rarely taken
  const fillers = Array.from({ length: 300 + Math.floor(Math.random() * 200) }, (_, i) => newBridge(`filler${i}`));
  expect(
    w
      .netlink(HOST)
      .batch(fillers)
      .every((error) => error === undefined),
  ).toBe(true);
  const network = {
    cniVersion: "1.1.0",
    name: "tasks",
    type: "berth",
    kind: "macvtap",
    master: "eth1",
    hostAccess: "auto",
    ipam: { type: "static", addresses: [{ address: "192.168.122.50/24" }, { address: "fd22::50/64" }] },
  };
  writeFileSync(CONFIG, JSON.stringify(network));
  mkdirSync(`${DIRECTORY}/libvirt`, { recursive: true });
  for (const [file, more] of [
    ["passwd", "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"],
    ["group", "libvirt-qemu:x:64055:\n"],
  ] as const) {
    copyFileSync(`/etc/${file}`, `${DIRECTORY}/${file}`);
    writeFileSync(`${DIRECTORY}/${file}`, readFileSync(`/etc/${file}`, "utf8") + more);
  }
  writeFileSync(`${DIRECTORY}/libvirt/qemu.conf`, SETTINGS);
  daemon = Bun.spawn(["unshare", "--mount", "sh", "-c", START, DIRECTORY], { stdio: ["ignore", "ignore", "inherit"] });
  await until("libvirtd listens", () => existsSync(SOCKET), 60_000);
});
afterAll(async () => {
  daemon.kill("SIGTERM");
  await daemon.exited;
  w[Symbol.dispose]();
  rmSync(DIRECTORY, { recursive: true });
});

let before: string[];
function links(): string[] {
  return w.ipJson(HOST, "link show").flatMap(({ ifname }) => (typeof ifname === "string" ? [ifname] : []));
}
beforeEach(() => {
  before = links();
});
afterEach(() => {
  expect(links()).toEqual(before);
  expect(w.ip(HOST, "route show proto 98")).toBe("");
  for (const directory of ["/run/berth/attachments", "/run/berth/taps"])
    expect(existsSync(directory) ? readdirSync(directory) : []).toEqual([]);
});

function berth(...args: string[]): string {
  return w.run([process.execPath, main, ...args]);
}

function virsh(...args: string[]): string {
  return w.run(["virsh", "--connect", "qemu:///system", ...args]);
}

/** A domain with an interface, and its agent. */
class Domain implements Disposable {
  readonly agent = new Agent(`${DIRECTORY}/agent`, () => readFileSync(`${DIRECTORY}/console`, "utf8"));

  constructor(nic: string) {
    const file = `${DIRECTORY}/domain.xml`;
    writeFileSync(
      file,
      `<domain type='qemu'>
        <name>vm1</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
        <os>
          <type arch='x86_64' machine='q35'>hvm</type>
          <kernel>${small.kernel}</kernel><initrd>${small.initramfs}</initrd>
          <cmdline>console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests random.trust_cpu=on</cmdline>
        </os>
        <cpu mode='maximum'/>
        <devices>
          <emulator>${Bun.which("qemu-system-x86_64")}</emulator>
          ${nic}
          <channel type='unix'>
            <source mode='connect' path='${DIRECTORY}/agent'/><target type='virtio' name='agent'/>
          </channel>
          <serial type='file'><source path='${DIRECTORY}/console'/></serial>
          <memballoon model='none'/>
        </devices>
      </domain>`,
    );
    w.run(["virt-xml-validate", file]); // fails where it is not valid
    virsh("define", file);
    virsh("start", "vm1");
  }

  [Symbol.dispose](): void {
    virsh("destroy", "vm1");
    virsh("undefine", "vm1");
    this.agent[Symbol.dispose]();
  }
}

/** The guest does what it is told, reaches the LAN and its host by both families, and is reached. */
async function talks({ agent }: Domain): Promise<void> {
  await agent.ready();
  await agent.must(berth("vm", "guest", "--name", "vm1"));
  for (const ip of ["192.168.122.9", "fd22::9", "192.168.10.22", "fd10::22"])
    await agent.must(`ping -n -c 1 -W 5 ${ip} || ping -n -c 1 -W 5 ${ip}`);
  for (const from of [HOST, "peer"])
    for (const ip of ["192.168.122.50", "fd22::50"])
      await until(`${from || "the host"} reaches ${ip}`, () => {
        try {
          w.ping(from, ip);
          return true;
        } catch {
          return false;
        }
      });
  expect(berth("check")).toBe("ok    tasks/vm1/tap-vm1\n");
}

test("a domain on Berth's macvtap (type='ethernet'): libvirt opens it, and leaves it", async () => {
  berth("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-mode", "0600", "--id", "vm1");
  const xml = berth("vm", "libvirt-xml", "--name", "vm1");
  expect(xml).toContain("<interface type='ethernet'>");
  {
    using domain = new Domain(xml);
    await talks(domain);
  }
  expect(links()).toContain("tap-vm1");
  expect(berth("check")).toBe("ok    tasks/vm1/tap-vm1\n");
  berth("detach", "--id", "vm1");
});

test("a domain on a macvtap that libvirt makes (type='direct'), to which Berth makes the host's way", async () => {
  const mac = "02:00:5e:10:00:50";
  berth("attach", "--config", CONFIG, "--id", "vm1", "--foreign-link", "--mac", mac);
  const xml = berth("vm", "libvirt-xml", "--name", "vm1");
  expect(xml).toContain("<interface type='direct' trustGuestRxFilters='yes'>");
  {
    using domain = new Domain(xml);
    expect(w.ipJson(HOST, "-d link show dev tap-vm1")[0]).toMatchObject({ address: mac });
    await talks(domain);
  }
  expect(links()).not.toContain("tap-vm1");
  berth("detach", "--id", "vm1");
});
