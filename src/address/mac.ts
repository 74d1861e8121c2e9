// MAC addresses are lower-case colon text throughout.

/** Canonical text of a MAC address (colons or dashes, any case); undefined for anything else. */
export function parseMac(text: string): string | undefined {
  if (!/^[\da-f]{2}([:-])[\da-f]{2}(\1[\da-f]{2}){4}$/iu.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":");
}

/** The six bytes of a canonical MAC address. */
export function macToBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(":"), (octet) => Number.parseInt(octet, 16));
}

/** Canonical text of six bytes. */
export function macFromBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, "0")).join(":");
}

/** A random MAC address: locally administered, unicast (IEEE 802, section 8.2). */
export function randomMac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
