// The process that does what the engine has no code for, as HTTP: the runtime, of the same file, at the other end of a pair of
// sockets (src/openstack/carrier.ts).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

/** As src/main.ts and src/openstack/carrier.ts have them. */
#define NAME "berth-carrier"
#define DESCRIPTOR 3

static pid_t process;
static int own_end = -1;

/** What is the call's, credentials, which whoever may look at processes would see, and what tells the runtime to do something else. */
static const char *const left_out[] = {"CNI_", "OS_", "BUN_"};

static int is_left_out(const char *variable) {
  for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
    if (strncmp(variable, left_out[i], strlen(left_out[i])) == 0) return 1;
  return 0;
}

/** The environment without them. */
static char **environment(void) {
  size_t n = 0;
  while (environ[n] != NULL) n++;
  char **kept = malloc((n + 2) * sizeof *kept), **to = kept;
  for (size_t i = 0; kept != NULL && i < n; i++)
    if (!is_left_out(environ[i])) *to++ = environ[i];
  if (kept == NULL) return NULL;
  *to++ = "BUN_JSC_useJIT=0"; // no code of it runs often enough; to be ready for that takes 0.4 ms
  *to = NULL;
  return kept;
}

/** Why the program could not be executed: of the process that has this one's memory until then (vfork(2)). */
static volatile int failed;

/** In the new process: nothing but system calls. */
_Noreturn static void become_carrier(int end, pid_t parent, char **variables) {
  char *arguments[] = {NAME, NULL};
  // whoever ends this process, and then calls again, meets no request that is still carried out
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  int nothing = open("/dev/null", O_RDWR);
  dup2(end, DESCRIPTOR); // which is another one: of the pair it is the second
  // whoever waits for the end of the call's output does not wait for this process
  for (int fd = 0; fd < DESCRIPTOR; fd++) dup2(nothing, fd);
  syscall(SYS_close_range, DESCRIPTOR + 1, ~0U, 0);
  execve("/proc/self/exe", arguments, variables);
  failed = errno;
  _exit(127);
}

/** Stands alone, so that nothing of its caller's lies in registers meanwhile, which the new process uses too. */
__attribute__((noinline)) static pid_t start(int end, char **variables) {
  const pid_t own = getpid();
  failed = 0;
  pid_t started = vfork();
  if (started == 0) become_carrier(end, own, variables);
  if (started < 0) failed = errno;
  return started < 0 ? 0 : started;
}

int start_carrier(void) {
  if (process != 0) return 0;
  int ends[2];
  char **variables = environment();
  if (variables == NULL) return ENOMEM;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno;
  process = start(ends[1], variables);
  own_end = ends[0];
  close(ends[1]);
  free(variables);
  if (failed != 0) end_carrier();
  return failed;
}

int end_carrier(void) {
  int status = 0;
  if (own_end >= 0) close(own_end);
  own_end = -1;
  if (process == 0) return 0;
  kill(process, SIGKILL);
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) continue; // nobody else may be there to do it
  process = 0;
  return status;
}

/** host.carrier(): the descriptor of the socket to the process, which is started where there is none. */
static JSValue carrier(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  int error = start_carrier();
  if (error == 0) return JS_NewInt32(c, own_end);
  return JS_ThrowTypeError(c, "start the process that carries requests to the cloud: %s", strerror(error));
}

/** host.endCarrier(): how the process ended, in words, or was ended by this. */
static JSValue end(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  char words[64];
  int status = end_carrier();
  if (WIFSIGNALED(status)) snprintf(words, sizeof words, "was ended by signal %d", WTERMSIG(status));
  else snprintf(words, sizeof words, "ended with status %d", WEXITSTATUS(status));
  return JS_NewString(c, words);
}

void add_carrier(JSContext *c, JSValueConst host) {
  JS_SetPropertyStr(c, host, "carrier", JS_NewCFunction(c, carrier, "carrier", 0));
  JS_SetPropertyStr(c, host, "endCarrier", JS_NewCFunction(c, end, "endCarrier", 0));
}
