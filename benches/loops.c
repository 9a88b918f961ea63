/*
 * System call loops, each timed by itself: prints "name nanoseconds-per-operation" a line, several for each loop. Run natively
 * and under the tools that are compared; it knows nothing of them.
 *
 * The calls are made by libc's own functions, and the program is linked dynamically: a tool that rewrites call sites
 * finds those that ordinary programs have, in a libc whose file it may know already. (A static program would do too, but few
 * are.) None of the functions used here answers from a cache.
 *
 *   loops MILLISECONDS [NAME…]      each loop runs for about that long, after its warm-up
 *
 * In the working directory it makes loops.data, and the loop fork+exec executes ./true.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE (1 << 20)     /* of loops.data: as much as is read or written until the offset is set back */
#define SAMPLES 5          /* lines for each loop */
#define WARM_UP 100e6      /* nanoseconds */

static char page[4096];
static int file, ready[2], there[2], back[2], own[2], pair[2];

static void must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "loops: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

/* The most trivial call that cage-trace answers, as it names something; getppid is the one that it lets pass. */
static void getcwd_(void) { must(getcwd(page, sizeof page) != NULL, "getcwd"); }

static void getppid_(void) { getppid(); }

static void stat_(void)
{
    struct stat st;
    must(stat("loops.data", &st) == 0, "stat");
}

static void access_missing(void) { must(access("no/such/file", R_OK) == -1 && errno == ENOENT, "access"); }

static void open_close(void)
{
    int fd = open("loops.data", O_RDONLY);
    must(fd >= 0 && close(fd) == 0, "open and close");
}

static void open_fstat_read_close(void)
{
    struct stat st;
    int fd = open("loops.data", O_RDONLY);
    must(fd >= 0 && fstat(fd, &st) == 0, "open and fstat");
    must(read(fd, page, sizeof page) == sizeof page && close(fd) == 0, "read and close");
}

static void dup_close(void)
{
    int fd = dup(file);
    must(fd >= 0 && close(fd) == 0, "dup and close");
}

static void lseek_(void) { must(lseek(file, 7, SEEK_SET) == 7, "lseek"); }

static void fcntl_(void) { must(fcntl(file, F_GETFL) >= 0, "fcntl"); }

static void fstat_(void)
{
    struct stat st;
    must(fstat(file, &st) == 0, "fstat");
}

/* One call in 256 sets the offset back; that it does is too little to be seen. */
static void rewind_at_end(void)
{
    static int calls;
    if (calls++ % (SIZE / sizeof page) == 0)
        must(lseek(file, 0, SEEK_SET) == 0, "lseek");
}

static void read_4k(void)
{
    rewind_at_end();
    must(read(file, page, sizeof page) == sizeof page, "read");
}

static void pread_4k(void) { must(pread(file, page, sizeof page, 0) == sizeof page, "pread"); }

static void write_4k(void)
{
    rewind_at_end();
    must(write(file, page, sizeof page) == sizeof page, "write");
}

static void poll_(void)
{
    struct pollfd one = { .fd = ready[0], .events = POLLIN };
    must(poll(&one, 1, -1) == 1, "poll");
}

/* Both in this thread, so nothing has to be woken. */
static void pipe_write_read(void)
{
    char byte = 'x';
    must(write(own[1], &byte, 1) == 1 && read(own[0], &byte, 1) == 1, "pipe");
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
        execl("./true", "true", (char *)NULL);
        _exit(1);
    }
    must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "fork and exec");
}

static const struct {
    const char *name;
    void (*run)(void);
} loops[] = {
    { "getppid", getppid_ },
    { "getcwd", getcwd_ },
    { "stat", stat_ },
    { "access-missing", access_missing },
    { "open+close", open_close },
    { "open+fstat+read+close", open_fstat_read_close },
    { "dup+close", dup_close },
    { "lseek", lseek_ },
    { "fcntl", fcntl_ },
    { "fstat", fstat_ },
    { "read-4K", read_4k },
    { "pread-4K", pread_4k },
    { "write-4K", write_4k },
    { "poll-ready", poll_ },
    { "pipe-write+read", pipe_write_read },
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

static double batch(void (*run)(void), long count)
{
    double began = now();
    for (long i = 0; i < count; i++)
        run();
    return now() - began;
}

static void measure(const char *name, void (*run)(void), double limit)
{
    /* The batches grow until one lasts as long as a sample should. They warm this loop up. Each is tried twice, for one that was
       only interrupted is not long. */
    long count = 8;
    for (;; count *= 2) {
        double first = batch(run, count), second = batch(run, count);
        if ((first < second ? first : second) >= limit / SAMPLES)
            break;
    }
    for (int i = 0; i < SAMPLES; i++)
        printf("%s %.1f\n", name, batch(run, count) / count);
    fflush(stdout);
}

/*
 * cage-trace's platform `fast` serves a thread by its mailbox from the 32nd call with a name on, and only once libc's file has been
 * looked through, which happens once in a run, by a thread of the supervisor's, and takes some milliseconds: what is
 * measured before is `hybrid`. So many calls come first that both is done, and other tools' caches are full too. What a
 * short program pays for this is in the programs' figures.
 */
static void warm_up(void)
{
    double began = now();
    while (now() - began < WARM_UP)
        stat_();
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
    if (argc < 2) {
        fprintf(stderr, "usage: loops MILLISECONDS [NAME…]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    file = open("loops.data", O_RDWR | O_CREAT, 0644);
    must(file >= 0 && ftruncate(file, SIZE) == 0, "loops.data");
    for (int at = 0; at < SIZE; at += sizeof page)
        must(pwrite(file, page, sizeof page, at) == sizeof page, "loops.data");
    must(!pipe(ready) && !pipe(there) && !pipe(back) && !pipe(own), "pipes");
    must(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    must(write(ready[1], "x", 1) == 1, "pipe");
    pid_t partners[2] = { partner(there[0], back[1]), partner(pair[1], pair[1]) };
    double limit = atof(argv[1]) * 1e6;
    warm_up();
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
