// Files of CNI configurations, as they lie in /etc/cni/net.d, and site files.
import { writeFileSync } from "node:fs";
import { findNetwork, listNetworks, readNetworkFile } from "../../../src/cli/networks.ts";
import { readSite } from "../../../src/site/site-file.ts";
import type { Target } from "../engine.ts";
import { mutateJson, mutateText } from "../mutate.ts";
import { Place } from "./directories.ts";
import { configs } from "./samples.ts";

const lists = configs.map((config) => ({
  cniVersion: "1.0.0",
  name: config["name"],
  disableCheck: true,
  plugins: [config, { type: "portmap", capabilities: { portMappings: true } }],
}));

let place: Place | undefined;

/** Configuration files and lists. */
export const conflistTarget: Target<{ readonly text: string }> = {
  name: "conflist",
  brief: "files and lists of CNI configurations",
  make(r) {
    const text = JSON.stringify(mutateJson(r, r.once(2) ? r.pick(lists) : r.pick(configs))) ?? "";
    return { text: r.once(5) ? mutateText(r, text) : text };
  },
  run({ text }) {
    if (place === undefined) {
      place = new Place("conflist");
    }
    const file = `${place.inside}/10-lan.conflist`;
    writeFileSync(file, text);
    listNetworks(place.inside, () => {});
    readNetworkFile(file);
    findNetwork({ config: file, confDir: place.inside });
  },
};

const site = `networks:
  lan:
    kind: macvlan
    master: eth1
    hostAccess: auto
    ipam: {type: host-local, subnet: 10.1.0.0/24}
  file: /etc/cni/net.d/10-lan.conflist
attachments:
  - {network: lan, netns: one, create: true, ip: 10.1.0.7, mac: "02:00:00:00:00:01"}
  - {network: lan, pid: 4711, interface: eth1, id: task}
  - network: file
    netns: /run/netns/two
    ip: [10.1.0.8, "fd00::8/64"]
`;

/** Site files. */
export const siteTarget: Target<{ readonly text: string }> = {
  name: "site",
  brief: "site files (YAML)",
  make: (r) => ({ text: r.once(20) ? JSON.stringify(mutateJson(r, configs)) : mutateText(r, site) }),
  run({ text }) {
    readSite("/etc/berth/site.yaml", text, (_, name) => ({ ...configs[0], name }));
  },
};
