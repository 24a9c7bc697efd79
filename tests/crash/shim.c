/* A shim that is preloaded into a process: counts every file operation below a folder and hurts one of them.

   SHIM_ROOT   only operations on paths below this folder count
   SHIM_STATE  a file of three 64-bit words that all processes share: operations so far, whether the blow was dealt, reads so far
   SHIM_LOG    one line an operation: number, kind, path; the one that was hurt stands behind a "!"
   SHIM_MODE   kill    die before the operation                    stop    SIGSTOP before the operation
               torn    half of a write, then die                   enospc  from here on nothing that needs space works
               eio     this one fails, those after it work      eio-read  this read fails; reads are counted apart, and only then
   SHIM_AT     the number of the operation, counted from 1; the first one from there on that the mode can hurt
   SHIM_RECORD every operation that was done, in order, with the bytes it wrote: see keep()

   A process that was forked from one in which nothing was set calls shim_arm() to read the environment again.
   mmap stores and what glibc opens for itself (fopen) are not seen; nothing of gristmill, pyarrow, delta-rs or SQLite
   writes that way. */

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
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, KILL, TORN, ENOSPC_FROM, EIO_ONCE, EIO_READ, STOP };
enum { PASS = 0, TEAR = -1 }; /* what strike() gives; a positive number is an errno to fail with */

struct state {
    uint64_t count, dealt, reads;
};

static struct state *shared;
static char root[PATH_MAX], log_path[PATH_MAX], record_path[PATH_MAX];
static size_t root_len;
static int mode;
static uint64_t at;

#define REAL(name) ({ \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real; \
})

void shim_arm(void) {
    const char *folder = getenv("SHIM_ROOT"), *state = getenv("SHIM_STATE"), *log = getenv("SHIM_LOG");
    const char *asked = getenv("SHIM_MODE"), *number = getenv("SHIM_AT"), *record = getenv("SHIM_RECORD");
    shared = NULL;
    if (!folder || !state) return;
    snprintf(root, sizeof root, "%s", folder);
    root_len = strlen(root);
    snprintf(log_path, sizeof log_path, "%s", log ? log : "");
    snprintf(record_path, sizeof record_path, "%s", record ? record : "");
    at = number ? strtoull(number, NULL, 10) : 0;
    mode = !asked || !at             ? NONE
           : !strcmp(asked, "kill")   ? KILL
           : !strcmp(asked, "torn")   ? TORN
           : !strcmp(asked, "enospc") ? ENOSPC_FROM
           : !strcmp(asked, "eio")    ? EIO_ONCE
           : !strcmp(asked, "eio-read") ? EIO_READ
           : !strcmp(asked, "stop")   ? STOP
                                      : NONE;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, state, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return;
    if (syscall(SYS_ftruncate, fd, sizeof(struct state)) == 0) {
        void *map = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) shared = map;
    }
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void) { shim_arm(); }

static int below(const char *path) {
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

/* Give whether an open file lies below the root, and its path. */
static int held(int fd, char *path) {
    char link[64];
    if (!shared) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Give whether a path, perhaps relative to an open folder, lies below the root, and the whole path. */
static int named(int dir, const char *name, char *path) {
    if (!shared || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char folder[PATH_MAX];
        if (dir == AT_FDCWD) {
            if (syscall(SYS_getcwd, folder, sizeof folder) <= 0) return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            long n = syscall(SYS_readlinkat, AT_FDCWD, link, folder, sizeof folder - 1);
            if (n <= 0) return 0;
            folder[n] = 0;
        }
        size_t n = strlen(folder);
        if (n + 1 + strlen(name) >= PATH_MAX) return 0;
        memcpy(path, folder, n);
        path[n] = '/';
        strcpy(path + n + 1, name);
    }
    return below(path);
}

static void note(uint64_t number, const char *kind, const char *path, int hurt) {
    char line[PATH_MAX + 64];
    if (!log_path[0]) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return;
    int n = snprintf(line, sizeof line, "%s%llu %s %s\n", hurt ? "!" : "", (unsigned long long)number, kind, path);
    syscall(SYS_write, fd, line, (size_t)(n < (int)sizeof line ? n : (int)sizeof line - 1));
    syscall(SYS_close, fd);
}

static void die(void) {
    syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Count an operation, and say what becomes of it. can_tear: it is a write; needs_space: it may find the disk full. */
static int strike(const char *kind, const char *path, int can_tear, int needs_space) {
    int kept = errno;
    uint64_t number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    int turn = mode != NONE && mode != EIO_READ && number >= at && (mode != TORN || can_tear) && (mode != ENOSPC_FROM || needs_space);
    uint64_t before = 0;
    int first = turn && __atomic_compare_exchange_n(&shared->dealt, &before, number, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    int hurt = first || (turn && mode == ENOSPC_FROM);
    note(number, kind, path, hurt);
    errno = kept;
    if (!hurt) return PASS;
    switch (mode) {
    case KILL: die(); return PASS;
    case STOP: syscall(SYS_kill, (int)syscall(SYS_getpid), SIGSTOP); return PASS;
    case TORN: return TEAR;
    case ENOSPC_FROM: return ENOSPC;
    default: return EIO;
    }
}

/* Write down an operation that was done: "kind inode offset size path<TAB>other path\n", and then `size` bytes, which are read
   back from the file. It is written down before its caller goes on, so what follows from it stands after it. */
static void keep(const char *kind, int fd, const char *path, const char *to, off64_t where, size_t n) {
    if (!record_path[0]) return;
    int kept = errno;
    struct stat told = {0};
    if (fd >= 0) fstat(fd, &told);
    char *line = malloc(2 * PATH_MAX + 128 + n);
    int size = sprintf(line, "%s %llu %lld %zu %s\t%s\n", kind, (unsigned long long)told.st_ino, (long long)where, n, path, to);
    if (n) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int back = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
        if (back < 0 || syscall(SYS_pread64, back, line + size, n, where) != (long)n) abort();
        syscall(SYS_close, back);
    }
    int out = (int)syscall(SYS_openat, AT_FDCWD, record_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (out < 0 || syscall(SYS_write, out, line, size + n) != (long)(size + n)) abort();
    syscall(SYS_close, out);
    free(line);
    errno = kept;
}

/* Give what a call gave, after its operation was written down if it was seen and done. */
#define KEPT(call, done, ...) ({ \
    __typeof__(call) gave = (call); \
    if (seen && (done)) keep(__VA_ARGS__); \
    gave; \
})
#define KEPT_NAME(kind, call) KEPT(call, gave == 0, kind, -1, path, "", 0, 0)
#define KEPT_PAIR(kind, dir, call) ({ \
    char source[PATH_MAX] = ""; \
    named(dir, from, source); \
    KEPT(call, gave == 0, kind, -1, source, path, 0, 0); \
})
#define KEPT_SYNC(call) KEPT(call, gave == 0, "sync", fd, path, "", 0, 0)
#define KEPT_WRITE(fd, call) KEPT(call, gave > 0, "write", fd, path, "", lseek64(fd, 0, SEEK_CUR) - gave, (size_t)gave)
#define KEPT_WRITE_AT(fd, where, call) KEPT(call, gave > 0, "write", fd, path, "", where, (size_t)gave)

#define FAIL(number) do { errno = (number); return -1; } while (0)
#define BY_FD(fd, kind, tear, space) \
    char path[PATH_MAX]; \
    int seen = held(fd, path), blow = seen ? strike(kind, path, tear, space) : PASS; \
    if (blow > 0) FAIL(blow)
#define BY_NAME(dir, name, kind, space) \
    char path[PATH_MAX]; \
    int seen = named(dir, name, path), blow = seen ? strike(kind, path, 0, space) : PASS; \
    if (blow > 0) FAIL(blow)

/* --- opening, where it may make or empty a file ---------------------------------------------------------------- */

static mode_t rights(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPENS(function) \
    int function(const char *name, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t bits = rights(flags, more); va_end(more); \
        if (!(flags & (O_CREAT | O_TRUNC))) return REAL(function)(name, flags, bits); \
        BY_NAME(AT_FDCWD, name, "open", 1); \
        return KEPT(REAL(function)(name, flags, bits), gave >= 0, flags & O_TRUNC ? "empty" : "open", gave, path, "", 0, 0); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(function) \
    int function(int dir, const char *name, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t bits = rights(flags, more); va_end(more); \
        if (!(flags & (O_CREAT | O_TRUNC))) return REAL(function)(dir, name, flags, bits); \
        BY_NAME(dir, name, "open", 1); \
        return KEPT(REAL(function)(dir, name, flags, bits), gave >= 0, flags & O_TRUNC ? "empty" : "open", gave, path, "", 0, 0); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

/* --- writing --------------------------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *data, size_t n) {
    BY_FD(fd, "write", 1, 1);
    if (blow == TEAR) { syscall(SYS_write, fd, data, n / 2); die(); }
    return KEPT_WRITE(fd, syscall(SYS_write, fd, data, n));
}

#define PWRITES(function, offset_type) \
    ssize_t function(int fd, const void *data, size_t n, offset_type where) { \
        BY_FD(fd, "pwrite", 1, 1); \
        if (blow == TEAR) { syscall(SYS_pwrite64, fd, data, n / 2, where); die(); } \
        return KEPT_WRITE_AT(fd, where, syscall(SYS_pwrite64, fd, data, n, where)); \
    }
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n) {
    BY_FD(fd, "writev", 1, 1);
    if (blow == TEAR) { syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2); die(); }
    return KEPT_WRITE(fd, syscall(SYS_writev, fd, parts, n));
}

#define PWRITEVS(function, offset_type) \
    ssize_t function(int fd, const struct iovec *parts, int n, offset_type where) { \
        BY_FD(fd, "pwritev", 1, 1); \
        if (blow == TEAR) { syscall(SYS_pwrite64, fd, parts[0].iov_base, parts[0].iov_len / 2, where); die(); } \
        return KEPT_WRITE_AT(fd, where, REAL(function)(fd, parts, n, where)); \
    }
PWRITEVS(pwritev, off_t)
PWRITEVS(pwritev64, off64_t)

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags) {
    BY_FD(to, "copy_file_range", 1, 1);
    if (blow == TEAR) { REAL(copy_file_range)(from, from_at, to, to_at, n / 2, flags); die(); }
    return KEPT(REAL(copy_file_range)(from, from_at, to, to_at, n, flags), gave > 0, "write", to, path, "",
                (to_at ? *to_at : lseek64(to, 0, SEEK_CUR)) - gave, (size_t)gave);
}

#define SENDFILES(function, offset_type) \
    ssize_t function(int to, int from, offset_type *where, size_t n) { \
        BY_FD(to, "sendfile", 1, 1); \
        if (blow == TEAR) { REAL(function)(to, from, where, n / 2); die(); } \
        return KEPT_WRITE(to, REAL(function)(to, from, where, n)); \
    }
SENDFILES(sendfile, off_t)
SENDFILES(sendfile64, off64_t)

/* --- reading --------------------------------------------------------------------------------------------------- */

static int unread(int fd) {
    char path[PATH_MAX];
    if (mode != EIO_READ || !held(fd, path)) return 0;
    uint64_t number = __atomic_add_fetch(&shared->reads, 1, __ATOMIC_SEQ_CST), before = 0;
    int hurt = number >= at && __atomic_compare_exchange_n(&shared->dealt, &before, number, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    note(number, "read", path, hurt);
    return hurt;
}

ssize_t read(int fd, void *data, size_t n) {
    if (unread(fd)) FAIL(EIO);
    return syscall(SYS_read, fd, data, n);
}

ssize_t readv(int fd, const struct iovec *parts, int n) {
    if (unread(fd)) FAIL(EIO);
    return syscall(SYS_readv, fd, parts, n);
}

#define PREADS(function, offset_type) \
    ssize_t function(int fd, void *data, size_t n, offset_type where) { \
        if (unread(fd)) FAIL(EIO); \
        return syscall(SYS_pread64, fd, data, n, where); \
    }
PREADS(pread, off_t)
PREADS(pread64, off64_t)

#define PREADVS(function, offset_type) \
    ssize_t function(int fd, const struct iovec *parts, int n, offset_type where) { \
        if (unread(fd)) FAIL(EIO); \
        return REAL(function)(fd, parts, n, where); \
    }
PREADVS(preadv, off_t)
PREADVS(preadv64, off64_t)

/* --- size and durability --------------------------------------------------------------------------------------- */

#define TRUNCATES(function, offset_type) \
    int function(int fd, offset_type size) { \
        BY_FD(fd, "ftruncate", 0, 1); \
        return KEPT((int)syscall(SYS_ftruncate, fd, size), gave == 0, "cut", fd, path, "", size, 0); \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

int fsync(int fd) {
    BY_FD(fd, "fsync", 0, 1);
    return KEPT_SYNC((int)syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
    BY_FD(fd, "fdatasync", 0, 1);
    return KEPT_SYNC((int)syscall(SYS_fdatasync, fd));
}

/* --- names ----------------------------------------------------------------------------------------------------- */

int rename(const char *from, const char *to) {
    BY_NAME(AT_FDCWD, to, "rename", 0);
    return KEPT_PAIR("rename", AT_FDCWD, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    BY_NAME(to_dir, to, "rename", 0);
    return KEPT_PAIR("rename", from_dir, (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0));
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    BY_NAME(to_dir, to, "rename", 0);
    return KEPT_PAIR("rename", from_dir, (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int link(const char *from, const char *to) {
    BY_NAME(AT_FDCWD, to, "link", 1);
    return KEPT_PAIR("link", AT_FDCWD, (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    BY_NAME(to_dir, to, "link", 1);
    return KEPT_PAIR("link", from_dir, (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}

int unlink(const char *name) {
    BY_NAME(AT_FDCWD, name, "unlink", 0);
    return KEPT_NAME("unlink", (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0));
}

int unlinkat(int dir, const char *name, int flags) {
    BY_NAME(dir, name, flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0);
    return KEPT_NAME("unlink", (int)syscall(SYS_unlinkat, dir, name, flags));
}

int rmdir(const char *name) {
    BY_NAME(AT_FDCWD, name, "rmdir", 0);
    return KEPT_NAME("unlink", (int)syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR));
}

int mkdir(const char *name, mode_t bits) {
    BY_NAME(AT_FDCWD, name, "mkdir", 1);
    return KEPT_NAME("mkdir", (int)syscall(SYS_mkdirat, AT_FDCWD, name, bits));
}

int mkdirat(int dir, const char *name, mode_t bits) {
    BY_NAME(dir, name, "mkdir", 1);
    return KEPT_NAME("mkdir", (int)syscall(SYS_mkdirat, dir, name, bits));
}
