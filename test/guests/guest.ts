// A small guest of these suites, with two monitors.
import { Guest } from "../../src/lab/guest.ts";
import { images } from "./images.ts";

/** See `Guest`: here QEMU has a monitor for Berth, and one for the test. */
export class MonitoredGuest extends Guest {
  readonly qmp = `${this.directory}/qmp`;
  readonly control = `${this.directory}/control`;

  constructor() {
    super(images().small);
  }

  override command(legs: number, ...more: string[]): string[] {
    const monitors = [this.qmp, this.control].flatMap((path) => ["-qmp", `unix:${path},server=on,wait=off`]);
    return super.command(legs, ...monitors, ...more);
  }
}
