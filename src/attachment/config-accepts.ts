// Written by `npm run docs` from the schema in config.ts: what that accepts, without loading it.
import { isCidr, isIp, isIpOrCidr, isMac } from "./config-texts.ts";

const pattern1 = /^[a-zA-Z0-9][\w.-]*$/u;
const pattern2 = /^(?!\.{1,2}$)[^\s/:\p{Cc}]{1,15}$/u;
const pattern3 = /^0?[0-7]{3}$/u;
const pattern4 = /^(\/(?!\.{1,2}(\/|$))[^/\0]+)+$/u;
const pattern5 = /^\/sys\/devices(\/(?!\.{1,2}(\/|$))[^/\0]+)+$/u;
const pattern6 = /^[\da-fA-F]{4}:[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7]$/u;
const pattern7 = /^(?!(host-local|static|neutron)$)(?!\.{1,2}$)[^/\0]+$/u;

function isObject(x: unknown): x is Readonly<Record<string, unknown>> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

function every(x: unknown, fits: (y: unknown) => boolean): x is readonly unknown[] {
  if (!Array.isArray(x)) return false;
  for (const y of x) if (!fits(y)) return false;
  return true;
}

function object1(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "mac") return false;
  const x0 = x["mac"];
  if (!((typeof x0 === "string" && isMac(x0)))) return false;
  return true;
}

function object2(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "subnet") return false;
  const x0 = x["subnet"];
  if (!((typeof x0 === "string" && isCidr(x0)))) return false;
  return true;
}

function object3(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "names") return false;
  const x0 = x["names"];
  if (!((every(x0, (x0_) => typeof x0_ === "string" && pattern2.test(x0_)) && x0.length >= 1))) return false;
  return true;
}

function object4(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "owner" && k !== "group" && k !== "mode" && k !== "path") return false;
  const x0 = x["owner"];
  if (!(x0 === undefined || (typeof x0 === "number" && Number.isInteger(x0) && x0 >= 0 && x0 <= 4294967295))) return false;
  const x1 = x["group"];
  if (!(x1 === undefined || (typeof x1 === "number" && Number.isInteger(x1) && x1 >= 0 && x1 <= 4294967295))) return false;
  const x2 = x["mode"];
  if (!(x2 === undefined || (typeof x2 === "string" && pattern3.test(x2)))) return false;
  const x3 = x["path"];
  if (!(x3 === undefined || (typeof x3 === "string" && pattern4.test(x3)))) return false;
  return true;
}

function object5(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "link" && k !== "addresses" && k !== "metric" && k !== "table" && k !== "neighbours") return false;
  const x0 = x["link"];
  if (!(x0 === undefined || (typeof x0 === "string" && pattern2.test(x0)))) return false;
  const x1 = x["addresses"];
  if (!(x1 === undefined || (every(x1, (x1_) => typeof x1_ === "string" && isIp(x1_))))) return false;
  const x2 = x["metric"];
  if (!(x2 === undefined || (typeof x2 === "number" && Number.isInteger(x2) && x2 >= 0 && x2 <= 4294967295))) return false;
  const x3 = x["table"];
  if (!(x3 === undefined || (((typeof x3 === "number" && Number.isInteger(x3) && x3 >= 0 && x3 <= 4294967295) || (x3 === "own"))))) return false;
  const x4 = x["neighbours"];
  if (!(x4 === undefined || ((x4 === "auto" || x4 === "static" || x4 === "kernel")))) return false;
  return true;
}

function object6(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "probes" && k !== "waitMs" && k !== "quarantineS") return false;
  const x0 = x["probes"];
  if (!(x0 === undefined || (typeof x0 === "number" && Number.isInteger(x0) && x0 >= 1 && x0 <= 10))) return false;
  const x1 = x["waitMs"];
  if (!(x1 === undefined || (typeof x1 === "number" && Number.isInteger(x1) && x1 >= 1 && x1 <= 10000))) return false;
  const x2 = x["quarantineS"];
  if (!(x2 === undefined || (typeof x2 === "number" && Number.isInteger(x2) && x2 >= 0 && x2 <= 4294967295))) return false;
  return true;
}

function object7(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "subnet" && k !== "rangeStart" && k !== "rangeEnd" && k !== "gateway") return false;
  const x0 = x["subnet"];
  if (!((typeof x0 === "string" && isCidr(x0)))) return false;
  const x1 = x["rangeStart"];
  if (!(x1 === undefined || (typeof x1 === "string" && isIp(x1)))) return false;
  const x2 = x["rangeEnd"];
  if (!(x2 === undefined || (typeof x2 === "string" && isIp(x2)))) return false;
  const x3 = x["gateway"];
  if (!(x3 === undefined || (typeof x3 === "string" && isIp(x3)))) return false;
  return true;
}

function object8(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "dst" && k !== "gw" && k !== "mtu" && k !== "advmss" && k !== "priority" && k !== "table" && k !== "scope") return false;
  const x0 = x["dst"];
  if (!((typeof x0 === "string" && isCidr(x0)))) return false;
  const x1 = x["gw"];
  if (!(x1 === undefined || (typeof x1 === "string" && isIp(x1)))) return false;
  const x2 = x["mtu"];
  if (!(x2 === undefined || (typeof x2 === "number" && Number.isInteger(x2) && x2 >= 0 && x2 <= 4294967295))) return false;
  const x3 = x["advmss"];
  if (!(x3 === undefined || (typeof x3 === "number" && Number.isInteger(x3) && x3 >= 0 && x3 <= 4294967295))) return false;
  const x4 = x["priority"];
  if (!(x4 === undefined || (typeof x4 === "number" && Number.isInteger(x4) && x4 >= 0 && x4 <= 4294967295))) return false;
  const x5 = x["table"];
  if (!(x5 === undefined || (typeof x5 === "number" && Number.isInteger(x5) && x5 >= 0 && x5 <= 4294967295))) return false;
  const x6 = x["scope"];
  if (!(x6 === undefined || (typeof x6 === "number" && Number.isInteger(x6) && x6 >= 0 && x6 <= 255))) return false;
  return true;
}

function object9(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "type" && k !== "subnet" && k !== "rangeStart" && k !== "rangeEnd" && k !== "gateway" && k !== "ranges" && k !== "routes" && k !== "dataDir" && k !== "resolvConf") return false;
  const x0 = x["type"];
  if (!((x0 === "host-local"))) return false;
  const x1 = x["subnet"];
  if (!(x1 === undefined || (typeof x1 === "string" && isCidr(x1)))) return false;
  const x2 = x["rangeStart"];
  if (!(x2 === undefined || (typeof x2 === "string" && isIp(x2)))) return false;
  const x3 = x["rangeEnd"];
  if (!(x3 === undefined || (typeof x3 === "string" && isIp(x3)))) return false;
  const x4 = x["gateway"];
  if (!(x4 === undefined || (typeof x4 === "string" && isIp(x4)))) return false;
  const x5 = x["ranges"];
  if (!(x5 === undefined || (every(x5, (x5_) => every(x5_, (x5__) => object7(x5__)))))) return false;
  const x6 = x["routes"];
  if (!(x6 === undefined || (every(x6, (x6_) => object8(x6_))))) return false;
  const x7 = x["dataDir"];
  if (!(x7 === undefined || (typeof x7 === "string"))) return false;
  const x8 = x["resolvConf"];
  if (!(x8 === undefined || (typeof x8 === "string"))) return false;
  return true;
}

function object10(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "address" && k !== "gateway") return false;
  const x0 = x["address"];
  if (!((typeof x0 === "string" && isCidr(x0)))) return false;
  const x1 = x["gateway"];
  if (!(x1 === undefined || (typeof x1 === "string" && isIp(x1)))) return false;
  return true;
}

function object11(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "nameservers" && k !== "domain" && k !== "search" && k !== "options") return false;
  const x0 = x["nameservers"];
  if (!(x0 === undefined || (every(x0, (x0_) => typeof x0_ === "string")))) return false;
  const x1 = x["domain"];
  if (!(x1 === undefined || (typeof x1 === "string"))) return false;
  const x2 = x["search"];
  if (!(x2 === undefined || (every(x2, (x2_) => typeof x2_ === "string")))) return false;
  const x3 = x["options"];
  if (!(x3 === undefined || (every(x3, (x3_) => typeof x3_ === "string")))) return false;
  return true;
}

function object12(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "type" && k !== "addresses" && k !== "routes" && k !== "dns") return false;
  const x0 = x["type"];
  if (!((x0 === "static"))) return false;
  const x1 = x["addresses"];
  if (!(x1 === undefined || (every(x1, (x1_) => object10(x1_))))) return false;
  const x2 = x["routes"];
  if (!(x2 === undefined || (every(x2, (x2_) => object8(x2_))))) return false;
  const x3 = x["dns"];
  if (!(x3 === undefined || (object11(x3)))) return false;
  return true;
}

function object13(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "cidr") return false;
  const x0 = x["cidr"];
  if (!((typeof x0 === "string" && isCidr(x0)))) return false;
  return true;
}

function object14(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "type" && k !== "cloud" && k !== "credentials" && k !== "network" && k !== "subnets" && k !== "port" && k !== "ip" && k !== "mac" && k !== "securityGroups" && k !== "dnsName" && k !== "tags" && k !== "vmPort" && k !== "addressPairs" && k !== "waitReachable" && k !== "requireReachable") return false;
  const x0 = x["type"];
  if (!((x0 === "neutron"))) return false;
  const x1 = x["cloud"];
  if (!(x1 === undefined || (typeof x1 === "string"))) return false;
  const x2 = x["credentials"];
  if (!(x2 === undefined || (typeof x2 === "string"))) return false;
  const x3 = x["network"];
  if (!(x3 === undefined || (typeof x3 === "string"))) return false;
  const x4 = x["subnets"];
  if (!(x4 === undefined || (every(x4, (x4_) => typeof x4_ === "string") && x4.length >= 1))) return false;
  const x5 = x["port"];
  if (!(x5 === undefined || (typeof x5 === "string"))) return false;
  const x6 = x["ip"];
  if (!(x6 === undefined || (((typeof x6 === "string" && isIp(x6)) || (every(x6, (x6_) => typeof x6_ === "string" && isIp(x6_))))))) return false;
  const x7 = x["mac"];
  if (!(x7 === undefined || (typeof x7 === "string" && isMac(x7)))) return false;
  const x8 = x["securityGroups"];
  if (!(x8 === undefined || (every(x8, (x8_) => typeof x8_ === "string")))) return false;
  const x9 = x["dnsName"];
  if (!(x9 === undefined || (typeof x9 === "string"))) return false;
  const x10 = x["tags"];
  if (!(x10 === undefined || (every(x10, (x10_) => typeof x10_ === "string")))) return false;
  const x11 = x["vmPort"];
  if (!(x11 === undefined || (typeof x11 === "string"))) return false;
  const x12 = x["addressPairs"];
  if (!(x12 === undefined || (object13(x12)))) return false;
  const x13 = x["waitReachable"];
  if (!(x13 === undefined || (typeof x13 === "number" && x13 >= 0))) return false;
  const x14 = x["requireReachable"];
  if (!(x14 === undefined || (typeof x14 === "boolean"))) return false;
  return true;
}

function object15(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["type"];
  if (!((typeof x0 === "string" && pattern7.test(x0)))) return false;
  return true;
}

function object16(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k !== "type") return false;
  const x0 = x["type"];
  if (!(x0 === undefined || (x0 === ""))) return false;
  return true;
}

function object17(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["ips"];
  if (!(x0 === undefined || (every(x0, (x0_) => typeof x0_ === "string" && isIpOrCidr(x0_))))) return false;
  const x1 = x["mac"];
  if (!(x1 === undefined || (typeof x1 === "string" && isMac(x1)))) return false;
  return true;
}

function object18(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["ip_address"];
  if (!(x0 === undefined || (typeof x0 === "string" && isIpOrCidr(x0)))) return false;
  return true;
}

function object19(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["key"];
  if (!((typeof x0 === "string"))) return false;
  const x1 = x["value"];
  if (!(x1 === undefined || (typeof x1 === "string"))) return false;
  return true;
}

function object20(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["labels"];
  if (!(x0 === undefined || (every(x0, (x0_) => object19(x0_))))) return false;
  return true;
}

function object21(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["ip_addresses"];
  if (!(x0 === undefined || (every(x0, (x0_) => object18(x0_))))) return false;
  const x1 = x["labels"];
  if (!(x1 === undefined || (object20(x1)))) return false;
  return true;
}

function object22(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["network_info"];
  if (!(x0 === undefined || (object21(x0)))) return false;
  return true;
}

function object23(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["cni"];
  if (!(x0 === undefined || (object17(x0)))) return false;
  const x1 = x["org.apache.mesos"];
  if (!(x1 === undefined || (object22(x1)))) return false;
  return true;
}

function object24(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["mac"];
  if (!(x0 === undefined || (typeof x0 === "string" && isMac(x0)))) return false;
  const x1 = x["ips"];
  if (!(x1 === undefined || (every(x1, (x1_) => typeof x1_ === "string" && isIpOrCidr(x1_))))) return false;
  const x2 = x["deviceID"];
  if (!(x2 === undefined || (typeof x2 === "string" && pattern6.test(x2)))) return false;
  const x3 = x["ipRanges"];
  if (!(x3 === undefined || (every(x3, (x3_) => every(x3_, (x3__) => object7(x3__)))))) return false;
  return true;
}

function object25(x: unknown): boolean {
  if (!isObject(x)) return false;
  for (const k in x) if (k === "__proto__" || k === "prototype" || k === "constructor") return false;
  const x0 = x["cniVersion"];
  if (!(x0 === undefined || (typeof x0 === "string"))) return false;
  const x1 = x["name"];
  if (!((typeof x1 === "string" && pattern1.test(x1)))) return false;
  const x2 = x["type"];
  if (!((typeof x2 === "string"))) return false;
  const x3 = x["kind"];
  if (!(x3 === undefined || ((x3 === "macvlan" || x3 === "macvtap" || x3 === "ipvlan" || x3 === "vlan" || x3 === "device")))) return false;
  const x4 = x["master"];
  if (!(x4 === undefined || (((typeof x4 === "string" && pattern2.test(x4)) || (object1(x4)) || (object2(x4)) || (object3(x4)))))) return false;
  const x5 = x["mode"];
  if (!(x5 === undefined || ((x5 === "bridge" || x5 === "private" || x5 === "vepa" || x5 === "passthru" || x5 === "source" || x5 === "l2" || x5 === "l3" || x5 === "l3s")))) return false;
  const x6 = x["mtu"];
  if (!(x6 === undefined || (typeof x6 === "number" && Number.isInteger(x6) && x6 >= 0 && x6 <= 65535))) return false;
  const x7 = x["mac"];
  if (!(x7 === undefined || (typeof x7 === "string" && isMac(x7)))) return false;
  const x8 = x["vlanId"];
  if (!(x8 === undefined || (typeof x8 === "number" && Number.isInteger(x8) && x8 >= 0 && x8 <= 4094))) return false;
  const x9 = x["vlanProtocol"];
  if (!(x9 === undefined || ((x9 === "802.1q" || x9 === "802.1ad")))) return false;
  const x10 = x["isolation"];
  if (!(x10 === undefined || ((x10 === "bridge" || x10 === "private" || x10 === "vepa")))) return false;
  const x11 = x["sources"];
  if (!(x11 === undefined || (every(x11, (x11_) => typeof x11_ === "string" && isMac(x11_))))) return false;
  const x12 = x["bcqueuelen"];
  if (!(x12 === undefined || (typeof x12 === "number" && Number.isInteger(x12) && x12 >= 0 && x12 <= 4294967295))) return false;
  const x13 = x["tap"];
  if (!(x13 === undefined || (object4(x13)))) return false;
  const x14 = x["device"];
  if (!(x14 === undefined || (typeof x14 === "string" && pattern2.test(x14)))) return false;
  const x15 = x["hwaddr"];
  if (!(x15 === undefined || (typeof x15 === "string" && isMac(x15)))) return false;
  const x16 = x["kernelpath"];
  if (!(x16 === undefined || (typeof x16 === "string" && pattern5.test(x16)))) return false;
  const x17 = x["pciBusID"];
  if (!(x17 === undefined || (typeof x17 === "string" && pattern6.test(x17)))) return false;
  const x18 = x["linkInContainer"];
  if (!(x18 === undefined || (typeof x18 === "boolean"))) return false;
  const x19 = x["hostrouteif"];
  if (!(x19 === undefined || (typeof x19 === "string" && pattern2.test(x19)))) return false;
  const x20 = x["hostrouteip"];
  if (!(x20 === undefined || (((typeof x20 === "string" && isIp(x20)) || (every(x20, (x20_) => typeof x20_ === "string" && isIp(x20_))))))) return false;
  const x21 = x["hostAccess"];
  if (!(x21 === undefined || (((x21 === "auto") || (x21 === false) || (object5(x21)))))) return false;
  const x22 = x["defaultRoute"];
  if (!(x22 === undefined || (((typeof x22 === "boolean") || (x22 === "auto"))))) return false;
  const x23 = x["sourceRouting"];
  if (!(x23 === undefined || (((typeof x23 === "boolean") || (x23 === "only"))))) return false;
  const x24 = x["conflictDetection"];
  if (!(x24 === undefined || (((typeof x24 === "boolean") || (object6(x24)))))) return false;
  const x25 = x["ipam"];
  if (!(x25 === undefined || (((object9(x25)) || (object12(x25)) || (object14(x25)) || (object15(x25)) || (object16(x25)))))) return false;
  const x26 = x["dns"];
  if (!(x26 === undefined || (object11(x26)))) return false;
  const x27 = x["args"];
  if (!(x27 === undefined || (object23(x27)))) return false;
  const x28 = x["runtimeConfig"];
  if (!(x28 === undefined || (object24(x28)))) return false;
  return true;
}

/** The values of keys that are absent. */
export const defaults = {"cniVersion":"0.1.0","linkInContainer":false} as const;

/** True for a value from JSON that the schema accepts; it may be false for one whose unknown keys the schema drops. */
export function accepts(json: unknown): boolean {
  return object25(json);
}
