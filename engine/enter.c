// Where the process begins, and how it becomes the runtime.
//
// The executable is two programs in one file. The kernel starts this one, as the file names no interpreter; the runtime is
// linked dynamically, so to start it is to do what the kernel would have done: to put the dynamic linker into memory, to say in
// the auxiliary vector where the program is, and to jump. The runtime's own segments are in place, as they are the file's.
//
// Nothing here may call the C library: either it has not begun yet, or it is to be forgotten.
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "host.h"

#ifndef __x86_64__
#error "the first instructions of a process are written for x86-64 only"
#endif

// Said by the linker, who is told when the file is put together (scripts/engine.ts). The addresses are what counts.
extern const Elf64_Phdr runtime_headers[];
extern const char runtime_header_count[], runtime_entry[];
/** The engine's own file, as the linker made it. */
extern const Elf64_Ehdr __ehdr_start;

/** The C library's first function. */
extern char _start[];

uint64_t *initial_stack;
static uint64_t initial_break;

// rdx is a function for exit(3) to call, from an interpreter that there is not
__asm__(
    ".globl enter\n"
    "enter:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  mov %rsp, %rbx\n"
    "  and $-16, %rsp\n"
    "  call choose\n"
    "  mov %rbx, %rsp\n"
    "  xor %edx, %edx\n"
    "  jmp *%rax\n");

static inline long sys(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static size_t length_of(const char *text) {
  size_t n = 0;
  while (text[n] != 0) n++;
  return n;
}

_Noreturn static void give_up(const char *what, const char *name) {
  static const char start[] = "berth: start the runtime: ", end[] = "\n";
  sys(SYS_write, 2, (long)start, sizeof start - 1, 0, 0, 0);
  sys(SYS_write, 2, (long)what, (long)length_of(what), 0, 0, 0);
  sys(SYS_write, 2, (long)name, (long)length_of(name), 0, 0, 0);
  sys(SYS_write, 2, (long)end, sizeof end - 1, 0, 0, 0);
  for (;;) sys(SYS_exit_group, 127, 0, 0, 0, 0, 0);
}

/** A variable's value in the environment of the process; null where it is not there. */
static const char *variable(uint64_t *stack, const char *name) {
  size_t n = length_of(name);
  for (uint64_t *at = stack + stack[0] + 2; *at != 0; at++) {
    const char *text = (const char *)*at;
    size_t i = 0;
    while (i < n && text[i] == name[i]) i++;
    if (i == n && text[n] == '=') return text + n + 1;
  }
  return NULL;
}

static void say(uint64_t *stack, uint64_t type, uint64_t value) {
  uint64_t *at = stack + stack[0] + 2;
  while (*at != 0) at++;
  for (at++; at[0] != AT_NULL; at += 2)
    if (at[0] == type) at[1] = value;
}

/** Puts one segment of the dynamic linker where it belongs, as the kernel does (fs/binfmt_elf.c). */
static void place(long fd, const char *path, uint64_t base, const Elf64_Phdr *h) {
  int protection = (h->p_flags & PF_R ? PROT_READ : 0) | (h->p_flags & PF_W ? PROT_WRITE : 0) |
                   (h->p_flags & PF_X ? PROT_EXEC : 0);
  uint64_t page = 4095, start = (base + h->p_vaddr) & ~page, within = h->p_vaddr & page;
  uint64_t file_end = base + h->p_vaddr + h->p_filesz, end = base + h->p_vaddr + h->p_memsz;
  long at = sys(SYS_mmap, (long)start, (long)(h->p_filesz + within), protection, MAP_PRIVATE | MAP_FIXED, fd,
                (long)(h->p_offset - within));
  if (at < 0) give_up("map ", path);
  if (end == file_end) return;
  uint64_t whole = (file_end + page) & ~page;
  // to the end of the page: the dynamic linker's first memory is what its last page has left
  for (volatile char *p = (char *)file_end; p < (char *)whole; p++) *p = 0;
  if (end <= whole) return;
  at = sys(SYS_mmap, (long)whole, (long)(end - whole), protection, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
  if (at < 0) give_up("find memory for ", path);
}

/** Makes all ready for the runtime. Returns the address where it begins: the dynamic linker's. */
static void *prepare_runtime(uint64_t *stack) {
  const char *path = NULL;
  uint64_t count = (uint64_t)runtime_header_count;
  for (uint64_t i = 0; i < count; i++)
    if (runtime_headers[i].p_type == PT_INTERP) path = (const char *)runtime_headers[i].p_vaddr;
  if (path == NULL) give_up("the file is damaged: it names no dynamic linker", "");
  long fd = sys(SYS_open, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
  if (fd < 0) give_up("there is no ", path);
  static union {
    Elf64_Ehdr header;
    unsigned char bytes[4096];
  } file;
  long n = sys(SYS_read, fd, (long)file.bytes, sizeof file.bytes, 0, 0, 0);
  uint64_t table = file.header.e_phoff, headers = file.header.e_phnum;
  if (n < (long)sizeof file.header || table + headers * sizeof(Elf64_Phdr) > (uint64_t)n) give_up("read ", path);
  const Elf64_Phdr *h = (const Elf64_Phdr *)(file.bytes + table);
  uint64_t span = 0;
  for (uint64_t i = 0; i < headers; i++)
    if (h[i].p_type == PT_LOAD && h[i].p_vaddr + h[i].p_memsz > span) span = h[i].p_vaddr + h[i].p_memsz;
  long base = sys(SYS_mmap, 0, (long)span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (span == 0 || base < 0) give_up("map ", path);
  for (uint64_t i = 0; i < headers; i++)
    if (h[i].p_type == PT_LOAD) place(fd, path, (uint64_t)base, &h[i]);
  sys(SYS_close, fd, 0, 0, 0, 0, 0);
  say(stack, AT_PHDR, (uint64_t)runtime_headers);
  say(stack, AT_PHNUM, count);
  say(stack, AT_ENTRY, (uint64_t)runtime_entry);
  say(stack, AT_BASE, (uint64_t)base);
  return (void *)((uint64_t)base + file.header.e_entry);
}

/** The engine for a CNI call, else the runtime: where to go on. */
__attribute__((used)) static void *choose(uint64_t *stack) {
  const char *verb = variable(stack, "CNI_COMMAND"), *engine = variable(stack, "BERTH_ENGINE");
  int off = engine != NULL && engine[0] == 'o' && engine[1] == 'f' && engine[2] == 'f' && engine[3] == 0;
  if (verb == NULL || verb[0] == 0 || off) return prepare_runtime(stack);
  initial_stack = stack;
  initial_break = (uint64_t)sys(SYS_brk, 0, 0, 0, 0, 0, 0);
  // the C library looks for its thread-local storage there
  say(stack, AT_PHDR, (uint64_t)&__ehdr_start + __ehdr_start.e_phoff);
  say(stack, AT_PHNUM, __ehdr_start.e_phnum);
  return _start;
}

static const char *input;
static size_t input_length;

void keep_input(const void *bytes, size_t length) {
  static size_t room;
  if (input_length + length > room) {
    size_t more = room == 0 ? 65536 : room * 2;
    while (more < input_length + length) more *= 2;
    long at = room == 0 ? sys(SYS_mmap, 0, (long)more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                        : sys(SYS_mremap, (long)input, (long)room, (long)more, MREMAP_MAYMOVE, 0, 0);
    if (at < 0) give_up("find memory for the standard input", "");
    input = (const char *)at;
    room = more;
  }
  for (size_t i = 0; i < length; i++) ((volatile char *)input)[input_length + i] = ((const char *)bytes)[i];
  input_length += length;
}

/** A standard input that gives once more what was read of it. What was not read yet cannot be had: all had been read, or none. */
static void give_input_back(void) {
  if (input_length == 0) return;
  long fd = sys(SYS_memfd_create, (long)"stdin", 0, 0, 0, 0, 0);
  if (fd < 0) give_up("make a file for the standard input", "");
  for (size_t done = 0; done < input_length;) {
    long n = sys(SYS_write, fd, (long)(input + done), (long)(input_length - done), 0, 0, 0);
    if (n <= 0) give_up("write the standard input to memory", "");
    done += (size_t)n;
  }
  sys(SYS_lseek, fd, 0, SEEK_SET, 0, 0, 0);
  if (fd != 0) {
    sys(SYS_dup2, fd, 0, 0, 0, 0, 0);
    sys(SYS_close, fd, 0, 0, 0, 0, 0);
  }
}

/** The C library of the engine had the kernel write the processor's number to a place of its own (rseq(2)); no longer. */
static void forget_library(void) {
  extern const long __rseq_offset __attribute__((weak));
  extern const unsigned __rseq_size __attribute__((weak));
  if (&__rseq_offset == NULL || &__rseq_size == NULL || __rseq_size == 0) return;
  const long area = (long)__builtin_thread_pointer() + __rseq_offset;
  sys(SYS_rseq, area, 32, 1, 0x53053053, 0, 0); // RSEQ_FLAG_UNREGISTER, glibc's RSEQ_SIG
}

/** All but the standard streams; locks go with them. */
static void close_descriptors(void) {
  if (sys(SYS_close_range, 3, ~0U, 0, 0, 0, 0) == 0) return;
  for (int fd = 3; fd < 1024; fd++) sys(SYS_close, fd, 0, 0, 0, 0, 0); // before Linux 5.9; an engine has a dozen
}

_Noreturn void hand_over(void) {
  close_descriptors();
  give_input_back();
  forget_library();
  void *entry = prepare_runtime(initial_stack);
  sys(SYS_brk, (long)initial_break, 0, 0, 0, 0, 0);
  __asm__ volatile(
      "mov %0, %%rsp\n"
      "xor %%edx, %%edx\n"
      "xor %%ebp, %%ebp\n"
      "jmp *%1\n"
      :
      : "r"(initial_stack), "r"(entry)
      : "memory");
  __builtin_unreachable();
}
