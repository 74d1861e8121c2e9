// All series, in the order in which they run: those whose worlds are large come late; last the one that has the executables read
// anew, as the page cache then holds them in other pieces than the build wrote.
import { boundSeries } from "./series/bounds.ts";
import { bulk } from "./series/bulk.ts";
import { calls } from "./series/calls.ts";
import { cloudSeries } from "./series/cloud.ts";
import { coldStart } from "./series/cold.ts";
import { datapath } from "./series/datapath.ts";
import { dockerSeries } from "./series/docker.ts";
import { growth } from "./series/growth.ts";
import { memorySeries } from "./series/memory.ts";
import type { Series } from "./series.ts";

/** All series. */
export const series: readonly Series[] = [
  ...calls,
  ...memorySeries,
  ...boundSeries,
  ...cloudSeries,
  ...dockerSeries,
  ...datapath,
  ...bulk,
  ...growth,
  ...coldStart,
];
