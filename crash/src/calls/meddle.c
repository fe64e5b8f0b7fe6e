/* Meddles with the calls of a process to the files below one directory: counts them over all its
 * threads, and at one of them kills the process, or lets the call fail without being made.
 *
 * Preloaded (LD_PRELOAD), it stands between the program and the C library. In the environment:
 *   MEDDLE_BELOW  the directory, as an absolute path
 *   MEDDLE_KINDS  which calls count: w (write, make, lengthen), s (sync), n (unlink)
 *   MEDDLE_AT     the number of the call, from 1
 *   MEDDLE_ERRNO  with which error it fails; 0 to kill instead
 * When the call is met, a line that begins with "meddled" is written to standard error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

/* Whether this is the call; then it is killed here, or errno is set. */
static int met(const char *name, char kind, const char *path) {
  const char *below = getenv("MEDDLE_BELOW"), *kinds = getenv("MEDDLE_KINDS");
  const char *at = getenv("MEDDLE_AT"), *error = getenv("MEDDLE_ERRNO");
  if (!below || !kinds || !at || !error || !strchr(kinds, kind))
    return 0;
  if (strncmp(path, below, strlen(below)) != 0)
    return 0;
  if (atomic_fetch_add(&calls, 1) + 1 != atol(at))
    return 0;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "meddled with %s of %s\n", name, path);
  syscall(SYS_write, 2, line, (size_t)length);
  if (atoi(error) == 0)
    kill(getpid(), SIGKILL);
  errno = atoi(error);
  return 1;
}

static int met_file(const char *name, char kind, int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0)
    return 0;
  path[length] = 0;
  return met(name, kind, path);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) \
  real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FILE(kind, result, name, parameters, ...) \
  result name parameters { \
    REAL(name); \
    return met_file(#name, kind, file) ? -1 : real(__VA_ARGS__); \
  }

#define ON_PATH(kind, result, name, parameters, ...) \
  result name parameters { \
    REAL(name); \
    return met(#name, kind, path) ? -1 : real(__VA_ARGS__); \
  }

#define OPENS(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    int changes = flags & (O_CREAT | O_TRUNC); \
    return changes && met(#name, 'w', path) ? -1 : real(path, flags, mode); \
  }

OPENS(open)
OPENS(open64)
ON_FILE('w', ssize_t, write, (int file, const void *text, size_t n), file, text, n)
ON_FILE('w', ssize_t, writev, (int file, const struct iovec *texts, int n), file, texts, n)
ON_FILE('w', ssize_t, pwrite, (int file, const void *text, size_t n, off_t at), file, text, n, at)
ON_FILE('w', ssize_t, pwrite64, (int file, const void *text, size_t n, off64_t at), file, text, n, at)
ON_FILE('w', int, ftruncate, (int file, off_t length), file, length)
ON_FILE('w', int, ftruncate64, (int file, off64_t length), file, length)
ON_PATH('w', int, mkdir, (const char *path, mode_t mode), path, mode)
ON_PATH('w', int, rename, (const char *path, const char *to), path, to)
ON_FILE('s', int, fsync, (int file), file)
ON_FILE('s', int, fdatasync, (int file), file)
ON_PATH('n', int, unlink, (const char *path), path)
