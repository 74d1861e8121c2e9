// Text to UTF-8 and back, as the Encoding Standard has it: what is no character becomes U+FFFD.
#include <stdlib.h>
#include <string.h>

#include "host.h"

static const uint8_t REPLACEMENT[3] = {0xEF, 0xBF, 0xBD};

/** How many of the bytes are one character, or, negative, how many are none: the longest that might have begun one. */
static int character_at(const uint8_t *p, const uint8_t *end) {
  uint8_t first = p[0], low = 0x80, high = 0xBF;
  int more;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) more = 1;
  else if (first >= 0xE0 && first <= 0xEF) more = 2;
  else if (first >= 0xF0 && first <= 0xF4) more = 3;
  else return -1;
  // neither in more bytes than it takes, nor half of a UTF-16 pair, nor beyond U+10FFFF
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  for (int i = 1; i <= more; i++) {
    if (p + i >= end || p[i] < low || p[i] > high) return -i;
    low = 0x80;
    high = 0xBF;
  }
  return more + 1;
}

/** host.decode(buffer, offset, length): its text. */
static JSValue decode(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  size_t size;
  int64_t offset, length;
  const uint8_t *bytes = JS_GetArrayBuffer(c, &size, argv[0]);
  if (JS_ToInt64(c, &offset, argv[1]) || JS_ToInt64(c, &length, argv[2])) return JS_EXCEPTION;
  if (bytes == NULL || offset < 0 || length < 0 || (uint64_t)offset + (uint64_t)length > size)
    return length == 0 ? JS_NewString(c, "") : JS_ThrowRangeError(c, "decode: beyond the buffer");
  const uint8_t *p = bytes + offset, *end = p + length;
  const uint8_t *valid = p;
  for (int n; valid < end && (n = character_at(valid, end)) > 0;) valid += n;
  if (valid == end) return JS_NewStringLen(c, (const char *)p, (size_t)length);
  uint8_t *mended = malloc((size_t)length * 3), *to = mended; // a byte becomes three at most
  if (mended == NULL) return JS_ThrowOutOfMemory(c);
  while (p < end) {
    int n = character_at(p, end);
    const uint8_t *from = n > 0 ? p : REPLACEMENT;
    memcpy(to, from, (size_t)(n > 0 ? n : 3));
    to += n > 0 ? n : 3;
    p += abs(n);
  }
  JSValue text = JS_NewStringLen(c, (const char *)mended, (size_t)(to - mended));
  free(mended);
  return text;
}

/** host.encode(text): an ArrayBuffer. */
static JSValue encode(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  size_t length;
  const char *text = JS_ToCStringLen(c, &length, argv[0]);
  if (text == NULL) return JS_EXCEPTION;
  JSValue buffer = JS_NewArrayBufferCopy(c, (const uint8_t *)text, length);
  JS_FreeCString(c, text);
  size_t size;
  uint8_t *bytes = JS_GetArrayBuffer(c, &size, buffer);
  // half of a UTF-16 pair comes as three bytes, like U+FFFD, which is to stand in its place
  for (size_t i = 0; i + 2 < length; i++)
    if (bytes[i] == 0xED && bytes[i + 1] >= 0xA0) memcpy(bytes + i, REPLACEMENT, 3);
  return buffer;
}

void add_text(JSContext *c, JSValueConst host) {
  JS_SetPropertyStr(c, host, "encode", JS_NewCFunction(c, encode, "encode", 1));
  JS_SetPropertyStr(c, host, "decode", JS_NewCFunction(c, decode, "decode", 3));
}
