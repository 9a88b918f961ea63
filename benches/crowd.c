/*
 * Many processes at once: so many that call stat(2) without a pause for so long, beside so many that sleep. Prints the calls of all of
 * them in a second.
 *
 *   crowd BUSY IDLE MILLISECONDS
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: crowd BUSY IDLE MILLISECONDS\n");
        return 2;
    }
    int busy = atoi(argv[1]), idle = atoi(argv[2]);
    double seconds = atoi(argv[3]) / 1e3;
    double *rates = mmap(NULL, busy * sizeof *rates, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *idlers = calloc(idle + 1, sizeof *idlers);
    if (rates == MAP_FAILED || !idlers)
        return 1;
    for (int i = 0; i < idle; i++) {
        idlers[i] = fork();
        if (idlers[i] == 0) {
            pause();
            _exit(0);
        }
    }
    for (int i = 0; i < busy; i++) {
        if (fork() == 0) {
            struct stat st;
            long calls = 0;
            /* The warm-up is as long as what is measured. */
            double begin = now();
            while (now() - begin < seconds)
                stat("/etc/passwd", &st);
            begin = now();
            while (now() - begin < seconds)
                for (int n = 0; n < 10; n++, calls++)
                    stat("/etc/passwd", &st);
            rates[i] = calls / (now() - begin);
            _exit(0);
        }
    }
    for (int i = 0; i < busy; i++)
        wait(NULL);
    double all = 0;
    for (int i = 0; i < busy; i++)
        all += rates[i];
    for (int i = 0; i < idle; i++)
        kill(idlers[i], SIGKILL);
    printf("%.0f\n", all);
    return 0;
}
