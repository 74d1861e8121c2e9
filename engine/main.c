// The engine: QuickJS, with the program of a CNI call as bytecode and what that program asks of its surroundings.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "modules.h"

/** Bytes that are taken before memory is first looked through for circles. An ADD takes a tenth. */
#define COLLECT_FROM (16 << 20)

// the file that engine/bytecode.c wrote
extern const char modules_start[], modules_end[];
__asm__(
    ".section .rodata\n"
    ".balign 16\n"
    ".globl modules_start, modules_end\n"
    "modules_start: .incbin \"" MODULES
    "\"\n"
    "modules_end:\n"
    ".previous\n");

static struct timespec start;

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - start.tv_sec) * 1e3 + (double)(now.tv_nsec - start.tv_nsec) / 1e6;
}

/** Says an error that nobody caught, and ends. */
_Noreturn static void fail_with(JSContext *c, JSValue error) {
  const char *said = JS_ToCString(c, error), *where = JS_ToCString(c, JS_GetPropertyStr(c, error, "stack"));
  fprintf(stderr, "berth: %s\n%s", said == NULL ? "an error that has no text" : said, where == NULL ? "" : where);
  end_carrier();
  _exit(1);
}

_Noreturn static void fail(JSContext *c) {
  fail_with(c, JS_GetException(c));
}

/** Why a promise was rejected that nobody waits for. */
static JSValue rejection;

static void rejected(JSContext *c, JSValueConst promise, JSValueConst reason, JS_BOOL is_handled, void *opaque) {
  JS_FreeValue(c, rejection);
  rejection = is_handled ? JS_UNDEFINED : JS_DupValue(c, reason);
}

/** A module of the program; null where the engine has none of that name. */
static JSModuleDef *module_named(JSContext *c, const char *name) {
  size_t length = strlen(name);
  const struct module *m;
  for (const char *at = modules_start; at < modules_end; at += sizeof *m + m->name_length + m->code_length) {
    m = (const struct module *)at;
    if (m->name_length != length || memcmp(m->name_and_code, name, length) != 0) continue;
    const uint8_t *code = (const uint8_t *)m->name_and_code + length;
    JSValue module = JS_ReadObject(c, code, m->code_length, JS_READ_OBJ_BYTECODE | JS_READ_OBJ_ROM_DATA);
    if (JS_IsException(module)) fail(c);
    return JS_VALUE_GET_PTR(module);
  }
  return NULL;
}

static void (*former_pipe_signal)(int);

/** As the caller started it, so do the runtime and what that starts begin. */
_Noreturn static void become_runtime(void) {
  end_carrier();
  signal(SIGPIPE, former_pipe_signal);
  hand_over();
}

/** The client of a cloud: its requests are carried by a process that may start meanwhile. */
#define CLOUD "neutron.js"

/** What the engine has not, as a way to start programs, is the runtime's to do: the call begins anew there. */
static JSModuleDef *load(JSContext *c, const char *name, void *opaque) {
  if (strcmp(name, CLOUD) == 0) start_carrier(); // if that fails, so does the first request, which says why
  JSModuleDef *module = module_named(c, name);
  if (module == NULL) become_runtime();
  return module;
}

/** All modules are in one directory. */
static char *resolve(JSContext *c, const char *base, const char *name, void *opaque) {
  return js_strdup(c, strncmp(name, "./", 2) == 0 ? name + 2 : name);
}

/** host.now(): milliseconds since the process began. */
static JSValue now(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  return JS_NewFloat64(c, milliseconds());
}

/** host.exit(status): at once. */
static JSValue end(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  int status;
  if (JS_ToInt32(c, &status, argv[0])) return JS_EXCEPTION;
  end_carrier();
  _exit(status);
}

/** host.sleep(milliseconds). */
static JSValue wait(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  double ms;
  if (JS_ToFloat64(c, &ms, argv[0])) return JS_EXCEPTION;
  struct timespec t = {(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000};
  while (nanosleep(&t, &t) != 0) continue; // a signal does not shorten it
  return JS_UNDEFINED;
}

/** host.environment(): all variables. */
static JSValue environment(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  JSValue all = JS_NewObject(c);
  for (char **e = environ; *e != NULL; e++) {
    const char *equals = strchr(*e, '=');
    if (equals == NULL) continue;
    JSAtom name = JS_NewAtomLen(c, *e, (size_t)(equals - *e));
    JS_DefinePropertyValue(c, all, name, JS_NewString(c, equals + 1), JS_PROP_C_W_E);
    JS_FreeAtom(c, name);
  }
  return all;
}

/** What a program has of the language: all but the way from text to code. */
static JSContext *language(JSRuntime *runtime) {
  JSContext *c = JS_NewContextRaw(runtime);
  JS_AddIntrinsicBaseObjects(c);
  JS_AddIntrinsicDate(c);
  JS_AddIntrinsicStringNormalize(c);
  JS_AddIntrinsicRegExpCompiler(c);
  JS_AddIntrinsicRegExp(c);
  JS_AddIntrinsicJSON(c);
  JS_AddIntrinsicProxy(c);
  JS_AddIntrinsicMapSet(c);
  JS_AddIntrinsicTypedArrays(c);
  JS_AddIntrinsicPromise(c);
  JS_AddIntrinsicBigInt(c);
  return c;
}

static void add_host(JSContext *c, const char *called_as) {
  JSValue global = JS_GetGlobalObject(c), host = JS_NewObject(c);
  add_symbols(c, host);
  add_text(c, host);
  add_carrier(c, host);
  JS_SetPropertyStr(c, host, "now", JS_NewCFunction(c, now, "now", 0));
  JS_SetPropertyStr(c, host, "exit", JS_NewCFunction(c, end, "exit", 1));
  JS_SetPropertyStr(c, host, "sleep", JS_NewCFunction(c, wait, "sleep", 1));
  JS_SetPropertyStr(c, host, "environment", JS_NewCFunction(c, environment, "environment", 0));
  JS_SetPropertyStr(c, host, "calledAs", JS_NewString(c, called_as));
  JS_SetPropertyStr(c, host, "pid", JS_NewInt32(c, getpid()));
  JS_SetPropertyStr(c, host, "user", JS_NewUint32(c, geteuid()));
  JS_SetPropertyStr(c, global, "host", host);
  JS_FreeValue(c, global);
}

/** All that is left to do, until there is something to wait for. */
static void carry_out(JSRuntime *runtime) {
  JSContext *at;
  for (int more = 1; more != 0;)
    if ((more = JS_ExecutePendingJob(runtime, &at)) < 0) fail(at);
}

/** host.idle(), which engine/waiting.ts has set: waits; false where there is nothing to wait for. */
static int waits(JSContext *c) {
  JSValue global = JS_GetGlobalObject(c), host = JS_GetPropertyStr(c, global, "host");
  JSValue idle = JS_GetPropertyStr(c, host, "idle"), more = JS_Call(c, idle, host, 0, NULL);
  if (JS_IsException(more)) fail(c);
  JS_FreeValue(c, idle);
  JS_FreeValue(c, host);
  JS_FreeValue(c, global);
  return JS_ToBool(c, more);
}

/** Standard streams that the caller closed: else the next file that is opened would be one of them. */
static void open_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_RDWR);
}

int main(int argc, char **argv) {
  clock_gettime(CLOCK_MONOTONIC, &start);
  open_streams();
  former_pipe_signal = signal(SIGPIPE, SIG_IGN); // an answer that nobody reads is an error of write(2), which is told
  JSRuntime *runtime = JS_NewRuntime2(&memory_functions, NULL);
  JS_SetGCThreshold(runtime, COLLECT_FROM);
  JS_SetModuleLoaderFunc(runtime, resolve, load, NULL);
  JS_SetHostPromiseRejectionTracker(runtime, rejected, NULL);
  rejection = JS_UNDEFINED;
  JSContext *c = language(runtime);
  add_host(c, argc > 0 ? argv[0] : "");
  JSModuleDef *program = module_named(c, "main.js");
  if (program == NULL) become_runtime();
  JSValue module = JS_MKPTR(JS_TAG_MODULE, program);
  if (JS_ResolveModule(c, module) < 0 || JS_IsException(JS_EvalFunction(c, module))) fail(c);
  do carry_out(runtime);
  while (waits(c));
  if (!JS_IsUndefined(rejection)) fail_with(c, rejection);
  fputs("berth: the call came to no end: it waits for something that cannot happen\n", stderr);
  end_carrier();
  _exit(1);
}
