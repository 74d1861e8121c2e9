// npm run test:vm [WORD…]: the kernel's tests in a virtual machine with Debian's kernel, which has what a small one lacks:
// ipvlan, 802.1Q, GRE, bonding. The same files as of npm test, by the same runner, in the guest.
import { projectDisks } from "./images.ts";
import { Unavailable } from "./packages.ts";
import { bootVm, vmImages } from "./vm.ts";

/** The tests whose outcome depends on the kernel; the others' was the same where they ran before. */
const usual = [
  ...["links", "routing", "probes", "icmp", "namespaces", "taps", "together", "firewall"].map(
    (f) => `test/kernel/${f}.`,
  ),
  "test/plan/plan.",
  ...["parents", "nested", "repair", "several", "strays"].map((f) => `test/attachment/${f}.`),
  ...["attachments", "traffic", "device"].map((f) => `test/cni/${f}.`),
  "test/lab/tunnels.",
  "test/openstack/kinds.",
];
/** The kinds and parents: loaded at once, as a container's namespace may not load modules. */
const modules =
  "macvlan macvtap ipvlan 8021q veth bridge dummy bonding vxlan ip_gre ip6_gre tun af_packet nf_tables nft_masq nft_chain_nat ip_tables ip6_tables";
/** Emulation is slow: so many times longer than elsewhere may each file and each test take. */
const PATIENCE = 10;
const LIMIT_S = 4 * 3600;

async function main(words: readonly string[]): Promise<number> {
  const wanted = words.length === 0 ? usual : words;
  const start = performance.now();
  const [project, dependencies] = await projectDisks();
  await using vm = await bootVm(await vmImages(), {
    memoryMb: 4096,
    processors: 2,
    disks: [
      { image: project, at: "/project" },
      { image: dependencies, at: "/project/node_modules" },
    ],
    modules: modules.split(" "),
  });
  const kernel = (await vm.must("uname -sr")).trim();
  console.log(`${kernel}, ready after ${((performance.now() - start) / 1000).toFixed(1)} s`);
  // or gre0, gretap0, erspan0 and their like are made in each of some hundred namespaces, which takes longer than the tests
  await vm.must("echo 1 >/proc/sys/net/core/fb_tunnels_only_for_init_net");
  let last = "";
  const { exitCode } = await vm.run(
    `cd /project && export BERTH_TEST_PATIENCE=${PATIENCE} && node_modules/.bin/bun scripts/test.ts ${wanted.map((w) => `'${w}'`).join(" ")}`,
    {
      timeoutMs: LIMIT_S * 1000,
      onOutput: (text) => {
        last = (last + text).slice(-4000);
        process.stdout.write(text);
      },
    },
  );
  if (!/\d+ passed, \d+ failed/u.test(last)) console.log("0 passed, 1 failed");
  return exitCode;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (e) {
  if (!(e instanceof Unavailable)) throw e;
  console.log(`No virtual machine can be started here: ${e.message}`);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
}
