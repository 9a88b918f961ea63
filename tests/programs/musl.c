/* A static musl binary: threads, a pipe, stdio, environment, errors. musl makes its calls in its own way. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int pipes[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int total;

static void *add(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&lock);
        total += *(int *)arg;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    int steps[4] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, add, &steps[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("total %d, arguments %d, %s\n", total, argc, getenv("NO_SUCH") ? "a stray variable" : "no stray variable");
    if (pipe(pipes))
        return 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]);
        dprintf(pipes[1], "from the child");
        _exit(9);
    }
    close(pipes[1]);
    char text[64] = "";
    ssize_t count = read(pipes[0], text, sizeof text - 1);
    int status = 0;
    waitpid(child, &status, 0);
    printf("%zd bytes: %s, status %d\n", count, text, WEXITSTATUS(status));
    FILE *file = fopen("out", "w+");
    fprintf(file, "%s\n", "stdio");
    rewind(file);
    printf("%s", fgets(text, sizeof text, file));
    struct stat st;
    fstat(fileno(file), &st);
    printf("%lld bytes, next descriptor %d\n", (long long)st.st_size, dup(0));
    printf("%s, %s\n", open("/no/such", O_RDONLY) < 0 ? strerror(errno) : "?", kill(getpid(), 0) ? "?" : "alive");
    char *shell[] = {"sh", "-c", "echo exec from musl; exit 5", NULL};
    fflush(stdout);
    if (!(child = vfork()))
        execv("/bin/sh", shell), _exit(1);
    waitpid(child, &status, 0);
    printf("shell %d\n", WEXITSTATUS(status));
    (void)argv;
    return 0;
}
