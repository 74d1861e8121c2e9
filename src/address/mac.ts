// MAC addresses are lower-case colon text throughout.

/** Canonical text of a MAC address (colons or dashes, any case); undefined for anything else. */
export function parseMac(text: string): string | undefined {
  if (!/^[\da-f]{2}([:-])[\da-f]{2}(\1[\da-f]{2}){4}$/iu.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":");
}

/** The six bytes of a canonical MAC address. */
export function macToBytes(mac: string): Uint8Array {
  const bytes = new Uint8Array(6);
  let at = 0;
  for (const octet of mac.split(":")) bytes[at++] = Number.parseInt(octet, 16);
  return bytes;
}

const DIGITS = "0123456789abcdef";

/** Canonical text of six bytes. */
export function macFromBytes(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) {
    const octet = bytes[i] ?? 0;
    text += `${i === 0 ? "" : ":"}${DIGITS.charAt(octet >> 4)}${DIGITS.charAt(octet & 0xf)}`;
  }
  return text;
}

/** A MAC address of six random bytes: locally administered, unicast (IEEE 802, section 8.2). */
export function randomMac(random: Uint8Array): string {
  const bytes = random.slice(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
