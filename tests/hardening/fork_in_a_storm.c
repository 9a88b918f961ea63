// Threads that never cease to open and close do not hold up another's fork.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void *storm(void *unused)
{
	(void)unused;
	for (;;)
		close(open("/dev/null", O_RDONLY));
	return NULL;
}

int main(void)
{
	pthread_t thread;
	int reaped = 0;

	for (int i = 0; i < 8; i++)
		pthread_create(&thread, NULL, storm, NULL);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		reaped += waitpid(pid, NULL, 0) == pid;
	}
	printf("reaped %d\n", reaped);
	fflush(stdout);
	_exit(reaped != 20);
}
