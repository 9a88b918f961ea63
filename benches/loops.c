/*
 * System call loops, each timed by itself: prints "name nanoseconds-per-operation" a line. Run natively and under the
 * tools that are compared; it knows nothing of them. Calls are made by number, so that no libc answers from a cache.
 *
 *   loops MILLISECONDS [NAME…]      each loop runs for about that long
 *   loops true                      exits: what the fork+exec loop executes (linked statically, so it is small)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *self;
static char page[4096];
static int file, sink, ready[2], there[2], back[2], pair[2];

static void must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "loops: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void getppid_(void) { syscall(SYS_getppid); }

static void stat_(void)
{
    struct stat st;
    must(syscall(SYS_newfstatat, AT_FDCWD, "loops.data", &st, 0) == 0, "stat");
}

static void access_missing(void)
{
    must(syscall(SYS_access, "no/such/file", R_OK) == -1 && errno == ENOENT, "access");
}

static void open_close(void)
{
    int fd = syscall(SYS_openat, AT_FDCWD, "loops.data", O_RDONLY);
    must(fd >= 0, "open");
    syscall(SYS_close, fd);
}

static void open_fstat_read_close(void)
{
    struct stat st;
    int fd = syscall(SYS_openat, AT_FDCWD, "loops.data", O_RDONLY);
    must(fd >= 0 && syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH) == 0, "open and fstat");
    must(syscall(SYS_read, fd, page, sizeof page) == sizeof page, "read");
    syscall(SYS_close, fd);
}

static void read_1(void)
{
    if (syscall(SYS_read, sink, page, 1) != 1)
        must(0, "read 1");
}

static void pread_4k(void) { must(syscall(SYS_pread64, file, page, sizeof page, 0) == sizeof page, "pread"); }

static void write_1(void) { must(syscall(SYS_write, sink, page, 1) == 1, "write"); }

static void lseek_(void) { must(syscall(SYS_lseek, file, 7, SEEK_SET) == 7, "lseek"); }

static void dup_close(void)
{
    int fd = syscall(SYS_dup, file);
    must(fd >= 0, "dup");
    syscall(SYS_close, fd);
}

static void poll_(void)
{
    struct pollfd one = { .fd = ready[0], .events = POLLIN };
    must(syscall(SYS_poll, &one, 1, -1) == 1, "poll");
}

static void pipe_ping_pong(void)
{
    char byte = 'x';
    must(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
}

static void socket_ping_pong(void)
{
    char byte = 'x';
    must(send(pair[0], &byte, 1, 0) == 1 && recv(pair[0], &byte, 1, 0) == 1, "socketpair");
}

static void fork_exec(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "true", (char *)NULL);
        _exit(1);
    }
    must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "fork and exec");
}

static const struct {
    const char *name;
    void (*run)(void);
} loops[] = {
    { "getppid", getppid_ },
    { "stat", stat_ },
    { "access-missing", access_missing },
    { "open+close", open_close },
    { "open+fstat+read+close", open_fstat_read_close },
    { "read-1", read_1 },
    { "pread-4K", pread_4k },
    { "write-1", write_1 },
    { "lseek", lseek_ },
    { "dup+close", dup_close },
    { "poll-ready", poll_ },
    { "pipe-ping-pong", pipe_ping_pong },
    { "socket-ping-pong", socket_ping_pong },
    { "fork+exec", fork_exec },
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void measure(const char *name, void (*run)(void), double limit)
{
    /* The batches grow until one lasts as long as asked; only that one counts, the others warm up. */
    for (long count = 8;; count *= 2) {
        double began = now();
        for (long i = 0; i < count; i++)
            run();
        double took = now() - began;
        if (took >= limit / 2) {
            printf("%s %.0f\n", name, took / count);
            fflush(stdout);
            return;
        }
    }
}

/* The other side of both ping-pongs: ends when the pipes do. */
static pid_t partner(int from, int to)
{
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(there[1]);
        close(pair[0]);
        while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
            ;
        _exit(0);
    }
    must(pid > 0, "fork");
    return pid;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "true"))
        return 0;
    if (argc < 2) {
        fprintf(stderr, "usage: loops MILLISECONDS [NAME…]\n");
        return 2;
    }
    self = realpath(argv[0], NULL);
    must(self != NULL, argv[0]);
    signal(SIGPIPE, SIG_IGN);
    file = open("loops.data", O_RDWR | O_CREAT, 0644);
    must(file >= 0 && pwrite(file, page, sizeof page, 0) == sizeof page, "loops.data");
    sink = open("/dev/zero", O_RDWR);
    must(sink >= 0, "/dev/zero");
    must(!pipe(ready) && !pipe(there) && !pipe(back) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pipes");
    must(write(ready[1], "x", 1) == 1, "pipe");
    pid_t partners[2] = { partner(there[0], back[1]), partner(pair[1], pair[1]) };
    double limit = atof(argv[1]) * 1e6;
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        int wanted = argc == 2;
        for (int k = 2; k < argc; k++)
            wanted |= !strcmp(argv[k], loops[i].name);
        if (wanted)
            measure(loops[i].name, loops[i].run, limit);
    }
    for (int i = 0; i < 2; i++) {
        kill(partners[i], SIGKILL);
        waitpid(partners[i], NULL, 0);
    }
    return 0;
}
