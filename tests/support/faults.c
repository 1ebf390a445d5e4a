/* Stops a process at its n-th change of files below a folder: kills it, pauses it, or fills the disk from then on.

LD_PRELOAD puts these functions before the C library's. FAULTS names a file that the test maps too, see faults.py.
Not seen are writes through a mapping and those of C's stdio inside the C library; fwrite, which numpy calls, is. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define ENTRIES 16384
static struct control {
    int64_t count, at; /* changes so far; which of them is stopped (0: none) */
    int64_t signal;    /* that the process sends to itself there; 0: the disk is full from there on */
    char root[488];
    char log[ENTRIES][256]; /* the kind of each change and its path */
} *control;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS");
    int file = path ? REAL(open)(path, O_RDWR) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    control = mapped == MAP_FAILED ? NULL : mapped;
    if (file >= 0) close(file);
}

enum { GO, FAIL, HERE }; /* HERE: the first that fails, of which a write still writes its half */

static int change(char kind, const char *path) {
    size_t length = strlen(control->root);
    if (!length || strncmp(path, control->root, length) || (path[length] && path[length] != '/')) return GO;
    int64_t n = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (n <= ENTRIES) snprintf(control->log[n - 1], 256, "%c%s", kind, path + length);
    if (!control->at || n < control->at) return GO;
    if (control->signal == SIGSTOP && n == control->at) kill(getpid(), SIGSTOP);
    if (control->signal == SIGSTOP) return GO;
    if (control->signal && kind != 'w') kill(getpid(), control->signal);
    if (strchr("ut", kind)) return GO; /* what is removed or emptied needs no space */
    if (kind == 'r' && n > control->at) return GO; /* a name seldom needs a new block, so one fails and may go back */
    return n == control->at ? HERE : FAIL;
}

static int of_path(char kind, int folder, const char *path) {
    char whole[PATH_MAX], link[40];
    if (!control || !path) return GO;
    if (*path == '/') return change(kind, path);
    int saved = errno;
    ssize_t n = 0;
    if (folder == AT_FDCWD) n = getcwd(whole, sizeof whole) ? (ssize_t)strlen(whole) : -1;
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder), n = readlink(link, whole, sizeof whole - 1);
    errno = saved;
    if (n < 0 || n + strlen(path) + 2 > sizeof whole) return GO;
    whole[n] = '/';
    strcpy(whole + n + 1, path);
    return change(kind, whole);
}

static int of_file(char kind, int file) {
    char link[40], path[PATH_MAX];
    if (!control) return GO;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (n < 0) return GO;
    path[n] = 0;
    return change(kind, path);
}

static int opened(int folder, const char *path, int flags) {
    if (!(flags & (O_CREAT | O_TRUNC))) return GO;
    int saved = errno, there = !faccessat(folder, path, F_OK, 0);
    errno = saved;
    return there && !(flags & O_TRUNC) ? GO : of_path(there ? 't' : 'o', folder, path);
}

static __thread int dying;

/* The bytes or parts that may be written: half of them where the write is stopped, none on a full disk. */
static size_t room(int file, size_t n) {
    int stop = of_file('w', file);
    dying = stop && control->signal;
    return stop == GO ? n : stop == HERE ? n / 2 : 0;
}

#define FULL(stop, failed) if (stop) return errno = ENOSPC, failed
#define WRITE(file, call) \
    if (n) n = room(file, n); \
    else return call; \
    ssize_t done = n ? call : -1; \
    if (dying) kill(getpid(), control->signal); \
    if (!n) errno = ENOSPC; \
    return done;

#define MODE(flags) va_list more; va_start(more, flags); mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more)
#define OPEN(name) \
    int name(const char *path, int flags, ...) { MODE(flags); FULL(opened(AT_FDCWD, path, flags), -1); return REAL(name)(path, flags, mode); }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { MODE(flags); FULL(opened(at, path, flags), -1); return REAL(name)(at, path, flags, mode); }
#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        int flags = *mode == 'w' ? O_CREAT | O_TRUNC : *mode == 'a' ? O_CREAT : 0; \
        FULL(opened(AT_FDCWD, path, flags), NULL); return REAL(name)(path, mode); }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *data, size_t n) { WRITE(file, REAL(write)(file, data, n)) }
ssize_t pwrite(int file, const void *data, size_t n, off_t at) { WRITE(file, REAL(pwrite)(file, data, n, at)) }
ssize_t pwrite64(int file, const void *data, size_t n, off64_t at) { WRITE(file, REAL(pwrite64)(file, data, n, at)) }
ssize_t writev(int file, const struct iovec *parts, int n) { WRITE(file, REAL(writev)(file, parts, n)) }
ssize_t sendfile(int to, int from, off_t *at, size_t n) { WRITE(to, REAL(sendfile)(to, from, at, n)) }
ssize_t sendfile64(int to, int from, off64_t *at, size_t n) { WRITE(to, REAL(sendfile64)(to, from, at, n)) }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    WRITE(to, REAL(copy_file_range)(from, a, to, b, n, flags))
}
size_t fwrite(const void *data, size_t size, size_t n, FILE *stream) {
    size_t most = room(fileno(stream), n), done = most ? REAL(fwrite)(data, size, most, stream) : 0;
    if (dying) fflush(stream), kill(getpid(), control->signal);
    if (most < n) errno = ENOSPC;
    return done;
}

int mkdir(const char *path, mode_t mode) { FULL(of_path('m', AT_FDCWD, path), -1); return REAL(mkdir)(path, mode); }
int link(const char *from, const char *to) { FULL(of_path('l', AT_FDCWD, to), -1); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    FULL(of_path('l', b, to), -1);
    return REAL(linkat)(a, from, b, to, flags);
}
int symlink(const char *from, const char *to) { FULL(of_path('l', AT_FDCWD, to), -1); return REAL(symlink)(from, to); }
int rename(const char *from, const char *to) { FULL(of_path('r', AT_FDCWD, to), -1); return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    FULL(of_path('r', b, to), -1);
    return REAL(renameat)(a, from, b, to);
}
int fsync(int file) { FULL(of_file('s', file), -1); return REAL(fsync)(file); }
int fdatasync(int file) { FULL(of_file('s', file), -1); return REAL(fdatasync)(file); }
#define TRUNCATE(name, offset_t) int name(int file, offset_t n) { of_file('t', file); return REAL(name)(file, n); }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
#define ALLOCATE(name, offset_t) \
    int name(int file, offset_t from, offset_t n) { return of_file('w', file) ? ENOSPC : REAL(name)(file, from, n); }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)
int unlink(const char *path) { of_path('u', AT_FDCWD, path); return REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) { of_path('u', at, path); return REAL(unlinkat)(at, path, flags); }
int rmdir(const char *path) { of_path('u', AT_FDCWD, path); return REAL(rmdir)(path); }
