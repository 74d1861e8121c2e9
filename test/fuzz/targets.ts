// Everything that reads what others write.
import type { Target } from "./engine.ts";
import { cloudsTarget, ipamResultTarget, keystoneTarget, neutronTarget } from "./targets/clouds.ts";
import { cniTarget, configTarget, prevResultTarget } from "./targets/cni.ts";
import { conflistTarget, siteTarget } from "./targets/conflists.ts";
import { dockerTarget } from "./targets/docker.ts";
import { netlinkTarget, packetTarget } from "./targets/messages.ts";
import { planTarget } from "./targets/plans.ts";
import { cacheTarget, dockerStateTarget, hostLocalTarget, recordTarget } from "./targets/state.ts";

/** All targets. */
export const targets = [
  cniTarget,
  configTarget,
  conflistTarget,
  prevResultTarget,
  ipamResultTarget,
  planTarget,
  netlinkTarget,
  packetTarget,
  hostLocalTarget,
  recordTarget,
  dockerTarget,
  dockerStateTarget,
  neutronTarget,
  keystoneTarget,
  cacheTarget,
  cloudsTarget,
  siteTarget,
] as unknown as readonly Target[]; // a target's cases are its own affair
