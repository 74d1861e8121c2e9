// The C library's functions by name, as the TypeScript calls them (kernel/libc.ts, kernel/files.ts).
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "host.h"

typedef long (*function)(long, long, long, long, long, long);

/** Of the call before: what QuickJS itself does in between may fail and say so. */
static int last_errno;

static int *errno_location(void) {
  return &last_errno;
}

/** read(2), of which the runtime would have to read the standard input again. */
static ssize_t read_keeping(int fd, void *buffer, size_t size) {
  ssize_t n = read(fd, buffer, size);
  if (fd == 0 && n > 0) keep_input(buffer, (size_t)n);
  return n;
}

#define LIBRARY(name) {#name, (function)name}
static const struct {
  const char *name;
  function call;
} symbols[] = {
    {"__errno_location", (function)errno_location},
    {"read", (function)read_keeping},
    LIBRARY(accept4), LIBRARY(access), LIBRARY(bind), LIBRARY(chmod), LIBRARY(close), LIBRARY(connect),
    LIBRARY(fchownat), LIBRARY(flock), LIBRARY(getdents64), LIBRARY(getpeername), LIBRARY(getrandom),
    LIBRARY(getsockopt), LIBRARY(getxattr), LIBRARY(link), LIBRARY(listen), LIBRARY(mkdir), LIBRARY(mount),
    LIBRARY(open), LIBRARY(openat), LIBRARY(poll), LIBRARY(readlink), LIBRARY(recvfrom), LIBRARY(rename), LIBRARY(rmdir),
    LIBRARY(sendto), LIBRARY(setns), LIBRARY(setsockopt), LIBRARY(setxattr), LIBRARY(socket), LIBRARY(statx),
    LIBRARY(syscall), LIBRARY(umask), LIBRARY(umount2), LIBRARY(unlink), LIBRARY(unlinkat), LIBRARY(unshare),
    LIBRARY(utimensat), LIBRARY(write),
};
#define COUNT (sizeof symbols / sizeof *symbols)

/** How a result is read: what engine/ffi.ts says of a symbol. */
enum returns { RETURNS_64 = 0, RETURNS_I32 = 1, RETURNS_U32 = 2 };

static JSValue call(JSContext *c, JSValueConst this, int argc, JSValueConst *argv, int magic) {
  long a[6] = {0};
  for (int i = 0; i < argc && i < 6; i++) {
    if (JS_IsNull(argv[i])) continue;
    int64_t value;
    int failed = JS_IsBigInt(c, argv[i]) ? JS_ToBigInt64(c, &value, argv[i]) : JS_ToInt64(c, &value, argv[i]);
    if (failed) return JS_EXCEPTION;
    a[i] = value;
  }
  const unsigned n = (unsigned)magic >> 2;
  errno = 0;
  long result = symbols[n].call(a[0], a[1], a[2], a[3], a[4], a[5]);
  if (n != 0) last_errno = errno;
  switch (magic & 3) {
    case RETURNS_I32:
      return JS_NewInt32(c, (int32_t)result);
    case RETURNS_U32:
      return JS_NewUint32(c, (uint32_t)result);
    default:
      return JS_NewInt64(c, result);
  }
}

/** host.symbol(name, returns): a function. */
static JSValue symbol(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  int returns;
  const char *name = JS_ToCString(c, argv[0]);
  if (name == NULL || JS_ToInt32(c, &returns, argv[1])) return JS_EXCEPTION;
  unsigned i = 0;
  while (i < COUNT && strcmp(symbols[i].name, name) != 0) i++;
  JSValue found = i < COUNT ? JS_NewCFunctionMagic(c, call, symbols[i].name, 6, JS_CFUNC_generic_magic,
                                                   (int)(i << 2) | (returns & 3))
                            : JS_ThrowTypeError(c, "the engine does not know the C library's %s", name);
  JS_FreeCString(c, name);
  return found;
}

/** host.address(typed array or buffer): where its bytes are. They stay there as long as it lives. */
static JSValue address(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  size_t offset = 0, size;
  JSValue buffer = JS_GetTypedArrayBuffer(c, argv[0], &offset, NULL, NULL);
  if (JS_IsException(buffer)) return JS_EXCEPTION;
  uint8_t *bytes = JS_GetArrayBuffer(c, &size, buffer);
  JS_FreeValue(c, buffer);
  return JS_NewInt64(c, (int64_t)(intptr_t)(bytes + offset));
}

/** host.read(address): an int of C. */
static JSValue read_int(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  int64_t at;
  if (JS_ToInt64(c, &at, argv[0])) return JS_EXCEPTION;
  return JS_NewInt32(c, *(const int *)(intptr_t)at);
}

void add_symbols(JSContext *c, JSValueConst host) {
  JS_SetPropertyStr(c, host, "symbol", JS_NewCFunction(c, symbol, "symbol", 2));
  JS_SetPropertyStr(c, host, "address", JS_NewCFunction(c, address, "address", 1));
  JS_SetPropertyStr(c, host, "readInt", JS_NewCFunction(c, read_int, "readInt", 1));
}
