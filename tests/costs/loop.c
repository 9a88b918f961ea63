/*
 * One system call, N times: `loop NAME N`. Everything else that it does is the same for every N, so the difference
 * between two runs is what the calls cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct stat st;
static char byte;
static int fd;

static long stat_(void) { return syscall(SYS_newfstatat, AT_FDCWD, "/", &st, 0); }
static long libc_stat(void) { return stat("/", &st); }
/* The same beside a thread that waits, and did so before the first. */
static void *waits(void *arg)
{
    pause();
    return arg;
}
static long threaded_stat(void)
{
    static pthread_t other;
    if (other == 0 && pthread_create(&other, NULL, waits, NULL) != 0)
        return 1;
    return libc_stat();
}
static long missing(void) { return syscall(SYS_access, "/no/such/file", R_OK) + 1; }
static long refused(void) { return syscall(SYS_mount, "x", "/", "tmpfs", 0L, 0L) + 1; }
static long unknown(void) { return syscall(0x40000000 + SYS_getpid) + 1; }
static long read_(void) { return syscall(SYS_read, fd, &byte, 1L) - 1; }
static long getppid_(void) { return syscall(SYS_getppid) - getppid(); }
static long dup_close(void)
{
    long copy = syscall(SYS_dup, fd);
    return copy < 0 ? copy : syscall(SYS_close, copy);
}

/* What a program does with files, by libc. */
static long mix(void)
{
    char bytes[4096];
    static int pipes[2], file;
    if (file == 0 && (file = open("mix.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600)) < 0)
        return 1;
    if (pipes[1] == 0 && pipe(pipes) != 0)
        return 1;
    memset(bytes, 'm', sizeof bytes);
    int passwd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    long bad = passwd < 0;
    bad += fstat(passwd, &st) != 0;
    bad += read(passwd, bytes, sizeof bytes) <= 0;
    bad += lseek(passwd, 1, SEEK_SET) != 1;
    bad += close(passwd) != 0;
    bad += pwrite(file, bytes, sizeof bytes, 0) != sizeof bytes;
    bad += pread(file, bytes, 100, 10) != 100;
    bad += write(pipes[1], bytes, 10) != 10;
    bad += read(pipes[0], bytes, sizeof bytes) != 10;
    bad += access("/no/such/file", R_OK) == 0;
    bad += stat("/", &st) != 0;
    int copy = dup(file);
    bad += fcntl(copy, F_GETFD, 0) != 0 || fcntl(copy, F_GETFL, 0) < 0;
    bad += fcntl(copy, F_SETFD, FD_CLOEXEC) != 0;
    bad += close(copy) != 0;
    bad += read(-1, bytes, 1) == 0;
    return bad;
}

static const struct {
    const char *name;
    long (*call)(void);
} calls[] = {
    {"stat", stat_},       {"missing", missing}, {"refused", refused},     {"unknown", unknown},
    {"read", read_},       {"getppid", getppid_}, {"dup_close", dup_close}, {"libc_stat", libc_stat},
    {"threaded_stat", threaded_stat}, {"mix", mix},
};

int main(int argc, char **argv)
{
    fd = open("/dev/zero", O_RDONLY);
    if (argc != 3 || fd < 0)
        return 2;
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, argv[1]) != 0)
            continue;
        for (long n = strtol(argv[2], NULL, 10); n > 0; n--) {
            if (calls[i].call() != 0) {
                fprintf(stderr, "loop: %s: %s\n", argv[1], strerror(errno));
                return 1;
            }
        }
        /* Not by stdio: it would ask for an fstat, which the fast path makes in another way. */
        if (write(STDOUT_FILENO, "done\n", 5) != 5)
            return 2;
        return 0;
    }
    return 2;
}
