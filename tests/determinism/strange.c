/* A strange world, preloaded into a process: the clock on the wall jumps, and what is asked of the network is written down.

   Every fifth reading the time of day is another: now, a day ago, a day ahead. Clocks that only count up are left alone.
   STRANGE_ASKED  a file that gets one line for each address of the internet, v4 or v6, that is connected or sent to

   The kernel is asked without libc's own functions: allocators read the clock before symbols can be looked up. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 86400, READINGS = 5 };

static long jump(void) {
    static unsigned readings;
    unsigned turn = __atomic_fetch_add(&readings, 1, __ATOMIC_RELAXED) / READINGS % 3;
    return turn == 0 ? 0 : turn == 1 ? -DAY_S : DAY_S;
}

int clock_gettime(clockid_t which, struct timespec *to) {
    int code = (int)syscall(SYS_clock_gettime, which, to);
    if (code == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) to->tv_sec += jump();
    return code;
}

int gettimeofday(struct timeval *to, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

static void asked(const struct sockaddr *whom) {
    const char *path = getenv("STRANGE_ASKED");
    if (!path || !whom || (whom->sa_family != AF_INET && whom->sa_family != AF_INET6)) return;
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0 || write(file, "asked\n", 6) != 6) abort();
    close(file);
}

int connect(int socket, const struct sockaddr *whom, socklen_t size) {
    asked(whom);
    return (int)syscall(SYS_connect, socket, whom, size);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *whom, socklen_t whom_size) {
    asked(whom);
    return syscall(SYS_sendto, socket, data, size, flags, whom, whom_size);
}
