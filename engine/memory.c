// Memory for QuickJS: pieces of one size are kept in a list of their own and used again. A call takes some 20,000 small ones, gives
// most back, and ends soon; a general allocator is a fifth of what it computes.
#include <stdlib.h>
#include <string.h>

#include "host.h"

/** Bytes by which sizes differ, and what each piece begins with: its size. */
#define STEP 16
#define SMALL 1024
#define CHUNK (128 << 10)

/** Stands before each piece that is handed out. */
struct head {
  size_t size;
};

/** A piece that was given back. */
struct piece {
  struct piece *next;
};

static struct piece *returned[SMALL / STEP + 1];
static char *chunk;
static size_t left;

static struct head *head_of(void *memory) {
  return (struct head *)memory - 1;
}

static void *take(JSMallocState *state, size_t size) {
  if (size == 0) return NULL;
  // with its head a multiple of STEP, so that all are alike aligned
  const size_t rounded = (size + sizeof(struct head) + STEP - 1) / STEP * STEP - sizeof(struct head);
  struct head *head;
  if (rounded > SMALL) {
    head = malloc(sizeof *head + rounded);
    if (head == NULL) return NULL;
  } else {
    const size_t class = rounded / STEP, whole = sizeof *head + rounded;
    struct piece *again = returned[class];
    if (again != NULL) {
      returned[class] = again->next;
      state->malloc_count++;
      state->malloc_size += rounded;
      return again;
    }
    if (left < whole) {
      chunk = malloc(CHUNK);
      if (chunk == NULL) {
        left = 0;
        return NULL;
      }
      left = CHUNK;
    }
    head = (struct head *)chunk;
    chunk += whole;
    left -= whole;
  }
  head->size = rounded;
  state->malloc_count++;
  state->malloc_size += rounded;
  return head + 1;
}

static void give_back(JSMallocState *state, void *memory) {
  if (memory == NULL) return;
  struct head *head = head_of(memory);
  state->malloc_count--;
  state->malloc_size -= head->size;
  if (head->size > SMALL) {
    free(head);
    return;
  }
  struct piece *piece = memory;
  piece->next = returned[head->size / STEP];
  returned[head->size / STEP] = piece;
}

/** The C library knows how to make a large piece larger where it stands. */
static void *resize_large(JSMallocState *state, struct head *head, size_t size) {
  const size_t former = head->size;
  head = realloc(head, sizeof *head + size);
  if (head == NULL) return NULL;
  head->size = size;
  state->malloc_size += size - former;
  return head + 1;
}

static void *resize(JSMallocState *state, void *memory, size_t size) {
  if (memory == NULL) return take(state, size);
  if (size == 0) {
    give_back(state, memory);
    return NULL;
  }
  const size_t former = head_of(memory)->size;
  if (size <= former) return memory;
  if (former > SMALL) return resize_large(state, head_of(memory), size);
  void *larger = take(state, size);
  if (larger == NULL) return NULL;
  memcpy(larger, memory, former);
  give_back(state, memory);
  return larger;
}

static size_t usable(const void *memory) {
  return memory == NULL ? 0 : ((const struct head *)memory - 1)->size;
}

const JSMallocFunctions memory_functions = {take, give_back, resize, usable};
