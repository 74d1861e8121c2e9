// KVM where it runs Debian's kernel, software emulation elsewhere. That /dev/kvm is there says little: in some clouds it
// takes only guests of a special kernel, and others end in the middle of their boot.
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import { EMULATION, KVM } from "../../src/lab/guest.ts";
import { hash } from "../../scripts/kept.ts";
import { store } from "./state.ts";

/**
 * QEMU's arguments for the fastest way to run a guest here. A guest on KVM is tried once after each boot of this machine.
 * @param boots tries a guest
 */
export async function accelerator(boots: (accel: readonly string[]) => Promise<boolean>): Promise<readonly string[]> {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return EMULATION;
  }
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
  const answer = await store.get("kvm", hash(boot), async (path) => {
    let works = false;
    try {
      works = await boots(KVM);
    } catch {
      // whatever it was: emulation it is
    }
    writeFileSync(path, works ? "works" : "does not work");
  });
  return readFileSync(answer, "utf8") === "works" ? KVM : EMULATION;
}
