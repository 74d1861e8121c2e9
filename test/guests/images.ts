// What the guests of these suites start from: made where Debian's packages can be fetched, used in namespaces where not.
import { writeFileSync } from "node:fs";
import type { GuestImage } from "../../src/lab/guest.ts";
import { guestInitramfs } from "../../src/lab/guest-image.ts";
import { projectDisks } from "../vm/images.ts";
import { debianKernel } from "../vm/kernel.ts";
import { hash } from "../../scripts/kept.ts";
import { store } from "../vm/state.ts";
import { type VmImages, vmImages } from "../vm/vm.ts";

/** All of it. */
export interface Images {
  /** Small guests: busybox and little more. */
  readonly small: GuestImage;
  /** Debian's kernel as its package has it, with the modules beside it. */
  readonly bzImage: string;
  /** Guests with Debian's programs. */
  readonly whole: VmImages;
  /** Disks with the project and what it imports. */
  readonly project: readonly string[];
}

const VARIABLE = "BERTH_GUEST_IMAGES";

/** Makes what is not there yet, and has the processes started from now on know it. Throws `Unavailable`, `Failure`. */
export async function makeImages(): Promise<void> {
  const { release, elf, modules, bzImage } = await debianKernel();
  const initramfs = guestInitramfs(release, modules);
  const small = await store.get("small", hash(initramfs), (path) => writeFileSync(path, initramfs));
  const made: Images = {
    small: { kernel: elf, initramfs: small },
    bzImage,
    whole: await vmImages(),
    project: await projectDisks(),
  };
  process.env[VARIABLE] = JSON.stringify(made);
}

/** What was made. */
export function images(): Images {
  const text = process.env[VARIABLE];
  if (text === undefined) throw new Error(`${VARIABLE} is not set: run it by npm run test:guests`);
  return JSON.parse(text) as Images;
}
