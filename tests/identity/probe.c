/* Makes the calls that its arguments name, one after the other, and prints what each gave. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char **next;

static char *word(void) {
    if (!*next) {
        fprintf(stderr, "an argument is missing\n");
        exit(99);
    }
    return *next++;
}

static long number(void) { return strtol(word(), NULL, 0); }

static void show(const char *what, long result) {
    if (result >= 0)
        printf("%s ok\n", what);
    else
        printf("%s %s\n", what, strerrorname_np(errno));
    fflush(stdout);
}

/* One field of /proc/self/status. */
static void status(const char *field) {
    char line[512];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, field, strlen(field)))
            fputs(line, stdout);
    if (file)
        fclose(file);
    fflush(stdout);
}

static long opened(const char *path, int flags) {
    int fd = open(path, flags, 0644);
    if (fd >= 0)
        close(fd);
    return fd;
}

static long bound(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return bind(fd, (struct sockaddr *)&at, sizeof at);
}

static void peer(void) {
    int ends[2];
    struct ucred who;
    socklen_t len = sizeof who;
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    if (getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
        printf("peer %u %u\n", who.uid, who.gid);
    fflush(stdout);
}

/* A child that changed its id, and what its parent's id may do to its limits. */
static void foreign_limit(void) {
    int ready[2], hold[2];
    char byte;
    pipe(ready), pipe(hold);
    pid_t parent = fork();
    if (parent == 0) {
        write(ready[1], "", 1);
        read(hold[0], &byte, 1);
        _exit(0);
    }
    read(ready[0], &byte, 1);
    struct rlimit limit = {64, 64};
    setuid(1000);
    show("prlimit of another", prlimit(parent, RLIMIT_NOFILE, &limit, NULL));
    show("prlimit of itself", prlimit(0, RLIMIT_NOFILE, &limit, NULL));
    write(hold[1], "", 1);
    waitpid(parent, NULL, 0);
}

int main(int argc, char **argv) {
    (void)argc;
    next = argv + 1;
    while (*next) {
        const char *op = word();
        if (!strcmp(op, "ids"))
            printf("ids %u %u %u %u\n", getuid(), geteuid(), getgid(), getegid()), fflush(stdout);
        else if (!strcmp(op, "setuid"))
            show(op, setuid(number()));
        else if (!strcmp(op, "setgid"))
            show(op, setgid(number()));
        else if (!strcmp(op, "setreuid")) {
            long r = number(), e = number();
            show(op, setreuid(r, e));
        } else if (!strcmp(op, "setresuid")) {
            long r = number(), e = number(), s = number();
            show(op, setresuid(r, e, s));
        } else if (!strcmp(op, "group")) {
            gid_t group = number();
            show(op, setgroups(1, &group));
        } else if (!strcmp(op, "nogroups"))
            show(op, setgroups(0, NULL));
        else if (!strcmp(op, "keepcaps"))
            show(op, prctl(PR_SET_KEEPCAPS, 1));
        else if (!strcmp(op, "chown")) {
            const char *path = word();
            long u = number(), g = number();
            show(op, chown(path, u, g));
        } else if (!strcmp(op, "owner")) {
            struct stat stat_of;
            if (stat(word(), &stat_of) == 0)
                printf("owner %u %u\n", stat_of.st_uid, stat_of.st_gid), fflush(stdout);
            else
                show(op, -1);
        } else if (!strcmp(op, "chmod")) {
            const char *path = word();
            show(op, chmod(path, number()));
        } else if (!strcmp(op, "read"))
            show(op, opened(word(), O_RDONLY));
        else if (!strcmp(op, "write"))
            show(op, opened(word(), O_WRONLY));
        else if (!strcmp(op, "create"))
            show(op, opened(word(), O_WRONLY | O_CREAT | O_EXCL));
        else if (!strcmp(op, "unlink"))
            show(op, unlink(word()));
        else if (!strcmp(op, "access"))
            show(op, access(word(), R_OK));
        else if (!strcmp(op, "eaccess"))
            show(op, syscall(SYS_faccessat2, AT_FDCWD, word(), R_OK, AT_EACCESS));
        else if (!strcmp(op, "bind"))
            show(op, bound(number()));
        else if (!strcmp(op, "raw"))
            show(op, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
        else if (!strcmp(op, "packet"))
            show(op, socket(AF_PACKET, SOCK_RAW, 0));
        else if (!strcmp(op, "peer"))
            peer();
        else if (!strcmp(op, "status"))
            status(word());
        else if (!strcmp(op, "securebits"))
            printf("securebits %#x\n", prctl(PR_GET_SECUREBITS)), fflush(stdout);
        else if (!strcmp(op, "ambient"))
            show(op, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number(), 0, 0));
        else if (!strcmp(op, "foreign-limit"))
            foreign_limit();
        else if (!strcmp(op, "mount"))
            show(op, mount("none", "/tmp", "tmpfs", 0, NULL));
        else if (!strcmp(op, "umount"))
            show(op, umount2("/tmp", MNT_DETACH));
        else if (!strcmp(op, "unshare"))
            show(op, unshare(CLONE_NEWNS));
        else if (!strcmp(op, "newuser"))
            show(op, unshare(CLONE_NEWUSER));
        else if (!strcmp(op, "setns"))
            show(op, setns(0, 0));
        else if (!strcmp(op, "hostname"))
            show(op, sethostname("x", 1));
        else if (!strcmp(op, "chroot"))
            show(op, chroot("/tmp"));
        else if (!strcmp(op, "ptrace"))
            show(op, ptrace(PTRACE_ATTACH, getppid(), 0, 0));
        else if (!strcmp(op, "seize-init"))
            show(op, ptrace(PTRACE_SEIZE, 1, 0, 0));
        else if (!strcmp(op, "readv")) {
            char byte;
            struct iovec own = {&byte, 1}, other = {&byte, 1};
            show(op, process_vm_readv(getppid(), &own, 1, &other, 1, 0));
        } else if (!strcmp(op, "module"))
            show(op, syscall(SYS_init_module, NULL, 0, ""));
        else if (!strcmp(op, "bpf"))
            show(op, syscall(SYS_bpf, 0, NULL, 0));
        else if (!strcmp(op, "ioperm"))
            show(op, syscall(SYS_ioperm, 0x80, 1, 1));
        else if (!strcmp(op, "handle"))
            show(op, syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
        else if (!strcmp(op, "device")) {
            const char *path = word();
            show(op, mknod(path, S_IFBLK | 0600, 0x800));
        } else if (!strcmp(op, "exec")) {
            execv(*next, next);
            show(op, -1);
        } else {
            fprintf(stderr, "no such call: %s\n", op);
            return 99;
        }
    }
    return 0;
}
