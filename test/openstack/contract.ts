// What Berth relies on of Keystone and Neutron, said once: the real ones and their double must both answer so.
import { afterAll, beforeAll, describe } from "bun:test";
import { declareIdentity } from "./contract/identity.ts";
import { declareNetworks } from "./contract/networks.ts";
import { declarePairs } from "./contract/pairs.ts";
import { declarePorts } from "./contract/ports.ts";
import { declareGroups } from "./contract/security-groups.ts";
import { declareTrunks } from "./contract/trunks.ts";
import { byPassword, type Cast, send, strike, User } from "./contract/users.ts";

/** A cloud to be looked at. Its users are admin, demo and reader (both of project demo) and other; a password is its user's name. */
export interface ContractCloud {
  /** As `auth_url`: `http://127.0.0.1:15000/v3`. */
  readonly authUrl: string;
}

async function castOf({ authUrl }: ContractCloud): Promise<Cast> {
  const tokens: Cast["tokens"] = async (body) => await send("POST", `${authUrl}/auth/tokens`, {}, body);
  const login: Cast["login"] = async (user, project = user) => {
    const reply = await tokens(byPassword(user, user, project));
    if (reply.status === 201) return new User(authUrl, reply);
    throw new Error(`log in as ${user}: ${reply.status} ${JSON.stringify(reply.body)}`);
  };
  const demo = await login("demo");
  const network: Cast["network"] = async (cidr = "192.168.0.0/24", more = {}) => {
    const net = await demo.make("network", { name: `contract-${crypto.randomUUID()}`, ...more });
    const subnet = await demo.make("subnet", { network_id: net.id, cidr, ip_version: 4 });
    return { net, subnet };
  };
  const [admin, reader, other] = [await login("admin"), await login("reader", "demo"), await login("other")];
  return { authUrl, admin, demo, reader, other, tokens, login, network };
}

/** Declares the suite for a cloud. */
export function declareContract(name: string, start: () => Promise<ContractCloud>): void {
  let cast: Cast | undefined;
  const stage = (): Cast => {
    if (cast === undefined) throw new Error("the cloud has not started");
    return cast;
  };
  describe(name, () => {
    beforeAll(async () => {
      cast = await castOf(await start());
    }, 300_000);
    afterAll(async () => await (cast === undefined ? undefined : strike(cast)), 120_000);
    declareIdentity(stage);
    declareNetworks(stage);
    declarePorts(stage);
    declarePairs(stage);
    declareTrunks(stage);
    declareGroups(stage);
  });
}
