// The runtime beside the probe: it only carries requests.
import { carry } from "../../src/openstack/carrier.ts";

await carry();
