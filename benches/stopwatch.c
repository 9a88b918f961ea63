/*
 * How long a command lasts: starts it in a process group of its own and writes the nanoseconds until it has ended to a
 * file. A shell's own clock would count the shell's fork with it, which is most of what a short program takes.
 *
 *   stopwatch SECONDS FILE COMMAND [ARG…]      ends as the command does; 124 where it was killed, too slow
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: stopwatch SECONDS FILE COMMAND [ARG…]\n");
        return 2;
    }
    long long limit = atoll(argv[1]) * 1000000000LL;

    /* What ends the stopwatch ends the command too: a terminal's ^C does not reach another group by itself. */
    sigset_t watched, before;
    sigemptyset(&watched);
    for (int i = 0; i < 4; i++)
        sigaddset(&watched, (int[]){ SIGCHLD, SIGINT, SIGTERM, SIGHUP }[i]);
    sigprocmask(SIG_BLOCK, &watched, &before);
    posix_spawnattr_t how;
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&how, &before);

    pid_t pid;
    int status = 0;
    long long began = now();
    int error = posix_spawnp(&pid, argv[3], NULL, &how, argv + 3, environ);
    if (error) {
        fprintf(stderr, "stopwatch: %s: %s\n", argv[3], strerror(error));
        return 127;
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        long long left = began + limit - now();
        struct timespec wait = { left / 1000000000, left % 1000000000 };
        int signal = left > 0 ? sigtimedwait(&watched, NULL, &wait) : -1;
        if (signal == SIGCHLD || (left > 0 && signal < 0))
            continue;
        kill(-pid, SIGKILL);
        waitpid(pid, NULL, 0);
        fprintf(stderr, "stopwatch: %s was killed after %lld s\n", argv[3], (now() - began) / 1000000000);
        return signal > 0 ? 128 + signal : 124;
    }
    long long took = now() - began;

    FILE *file = fopen(argv[2], "w");
    if (!file || fprintf(file, "%lld\n", took) < 0 || fclose(file)) {
        fprintf(stderr, "stopwatch: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
