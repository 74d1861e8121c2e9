// The process that does what the engine has no code for, as HTTP: the runtime, of the same file, at the other end of a pair of
// sockets (src/openstack/carrier.ts).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

int start_carrier(void) {
  if (process != 0) return 0;
  int ends[2];
  char *arguments[] = {NAME, NULL}, **variables = environment();
  if (variables == NULL) return ENOMEM;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ends[1], DESCRIPTOR);
  // whoever waits for the end of the call's output does not wait for this process
  for (int fd = 0; fd < DESCRIPTOR; fd++) posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, DESCRIPTOR + 1);
  int failed = posix_spawn(&process, "/proc/self/exe", &files, NULL, arguments, variables);
  posix_spawn_file_actions_destroy(&files);
  free(variables);
  close(ends[1]);
  if (failed == 0) {
    own_end = ends[0];
    return 0;
  }
  process = 0;
  close(ends[0]);
  return failed;
}

int end_carrier(void) {
  if (process == 0) return 0;
  int status = 0;
  kill(process, SIGKILL);
  close(own_end);
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) continue; // nobody else may be there to do it
  process = 0;
  own_end = -1;
  return status;
}

/** host.carrier(): the descriptor of the socket to the process, which is started where there is none. */
static JSValue carrier(JSContext *c, JSValueConst this, int argc, JSValueConst *argv) {
  int failed = start_carrier();
  if (failed == 0) return JS_NewInt32(c, own_end);
  return JS_ThrowTypeError(c, "start the process that carries requests to the cloud: %s", strerror(failed));
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
