// Children that are killed at any point of what they do: in an open, in a connect or accept that the supervisor prepares, in
// fork, vfork, clone and exec. Each is reaped with its signal, and nothing of it is left to hold up the run.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/tmp/killed-anywhere" };

static void *opens(void *unused)
{
	(void)unused;
	for (;;)
		close(open("/tmp/killed-file", O_CREAT | O_RDWR, 0600));
	return NULL;
}

static void connects(void)
{
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fd, (void *)&name, sizeof name);
		close(fd);
	}
}

static void accepts(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un own = { .sun_family = AF_UNIX };
	// An address of its own, without a file.
	bind(fd, (void *)&own, sizeof own.sun_family);
	listen(fd, 3);
	for (;;)
		accept(fd, NULL, NULL);
}

static void forks(void)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void vforks(void)
{
	for (;;) {
		pid_t pid = vfork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void *nothing(void *unused)
{
	return unused;
}

static void threads(void)
{
	for (;;) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, nothing, NULL) == 0)
			pthread_join(thread, NULL);
	}
}

static void many_threads(void)
{
	pthread_t thread;
	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, opens, NULL);
	pause();
}

static void execs(void)
{
	execl("/proc/self/exe", "killed_anywhere", "again", (char *)NULL);
	_exit(3);
}

static void fifos(void)
{
	mkfifo("/tmp/killed-fifo", 0600);
	for (;;)
		close(open("/tmp/killed-fifo", O_RDONLY));
}

static void opening(void)
{
	opens(NULL);
}

int main(int argc, char **argv)
{
	static void (*const kinds[])(void) = { opening, connects, accepts, forks, vforks, threads, many_threads, execs, fifos };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), wrong = 0;

	if (argc > 1 && strcmp(argv[1], "again") == 0)
		execs();
	unlink(name.sun_path);
	bind(listener, (void *)&name, sizeof name);
	listen(listener, 4096);
	for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
		for (int i = 0; i < 12; i++) {
			int status = 0;
			pid_t pid = fork();
			if (pid == 0) {
				kinds[kind]();
				_exit(1);
			}
			usleep(rand() % 3000);
			kill(pid, SIGKILL);
			if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
				printf("kind %u: status %#x\n", kind, status);
				wrong++;
			}
		}
	}
	printf("wrong %d\n", wrong);
	return wrong != 0;
}
