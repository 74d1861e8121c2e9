// Texts of others within sentences of ours.

/** Longer sentences, characters, have somebody's whole input in them. */
const MAX = 4000;
/** Control characters, and those that turn the direction of the text around them (Unicode, "Bidi_Control"). */
const UNSEEN = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u;
const EACH_UNSEEN = new RegExp(UNSEEN, "gu");

function escaped(sign: string): string {
  return sign === "\n" ? String.raw`\n` : `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
}

/**
 * A sentence on one line whose every character is seen: a name of somebody's that holds an escape sequence or a line break
 * forges no line of a log and moves no cursor. What is too long is cut.
 */
export function plain(text: string): string {
  const whole = text.length > MAX ? `${text.slice(0, MAX)}… (${text.length} characters)` : text;
  return UNSEEN.test(whole) ? whole.replace(EACH_UNSEEN, escaped) : whole;
}
