// The program's modules as bytecode, one after the other, each behind its lengths and its name. engine/bytecode.c writes them.
#pragma once

#include <stdint.h>

struct module {
  uint32_t name_length;
  uint32_t code_length;
  char name_and_code[];
};
