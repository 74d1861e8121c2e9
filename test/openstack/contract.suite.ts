import { KEYSTONE } from "./api.ts";
import { declareContract } from "./contract.ts";
import { realCloud } from "./real/cloud.ts";

declareContract("Keystone and Neutron", async () => {
  await realCloud();
  return { authUrl: KEYSTONE };
});
