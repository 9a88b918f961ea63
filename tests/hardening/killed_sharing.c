// A child that shares the descriptor table is killed in the midst of opening files, again and again: whatever number it had
// in hand, the table goes on as the kernel has it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char stack[64 * 1024] __attribute__((aligned(16)));

static int opener(void *unused)
{
    for (;;) {
        int fd = open("/dev/null", O_RDWR);
        int p[2];
        if (pipe(p) == 0) {
            close(p[0]);
            close(p[1]);
        }
        close(fd);
    }
    return unused != NULL;
}

int main(void)
{
    int wrong = 0;
    srand(1);
    for (int i = 0; i < 150; i++) {
        pid_t child = clone(opener, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
        if (child < 0)
            return 1;
        struct timespec t = {0, (rand() % 3000) * 1000L};
        nanosleep(&t, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        // What the table says is open is what was opened.
        for (int k = 0; k < 8; k++) {
            struct stat st;
            int fd = open("/dev/null", O_RDONLY);
            if (fd < 0 || fstat(fd, &st) != 0 || !S_ISCHR(st.st_mode))
                wrong++;
            close(fd);
        }
        for (int fd = 3; fd < 40; fd++)
            close(fd);
    }
    printf("wrong %d\n", wrong);
    return 0;
}
