// What the files of the engine share.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "quickjs.h"

/** The stack as the kernel left it: argc, argv, environment, auxiliary vector (elf(5), getauxval(3)). */
extern uint64_t *initial_stack;

/** Ends the engine and starts the runtime in its place, as if the process had just begun; standard input is as it was. */
_Noreturn void hand_over(void);

/** Keeps what was read from standard input, which the runtime would have to read again. */
void keep_input(const void *bytes, size_t length);

/** The C library's functions, for engine/ffi.ts: `host.symbol(name, returns)`. */
void add_symbols(JSContext *context, JSValueConst host);

/** Starts the process that carries requests, where there is none. Returns 0, or what errno would be. */
int start_carrier(void);

/** Ends it, and waits until it is gone. Returns its status (wait(2)). */
int end_carrier(void);

/** For engine/carrier.ts: `host.carrier()`, `host.endCarrier()`. */
void add_carrier(JSContext *context, JSValueConst host);

/** UTF-8, for engine/text.ts: `host.encode(text)`, `host.decode(buffer, offset, length)`. */
void add_text(JSContext *context, JSValueConst host);

/** QuickJS's memory. */
extern const JSMallocFunctions memory_functions;
