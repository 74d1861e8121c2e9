// Watches as `berth repair --watch` does, and says after each thing that it mended how many objects its heap holds.
import { heapStats } from "bun:jsc";
import { watch } from "../../src/attachment/watch.ts";

await watch({
  mended: () => console.log(heapStats().objectCount),
  hindered() {},
  over() {},
  failed() {},
});
