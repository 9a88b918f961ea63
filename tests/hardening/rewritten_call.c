// A thread makes calls from a page that another rewrites under it: where the supervisor sends the first back to its
// `syscall` instruction, something else may stand there. No call of the cage's choice may run unjudged by that.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static atomic_int stop;
static volatile unsigned char *page;
static char parameters[256];

// call(nr, a, b, c): at `site` the instruction, at site + 2 the way back, at site + 16 io_uring_setup.
static void write_page(void)
{
	static const unsigned char call[] = {
		0x48, 0x89, 0xf8,             // mov rax, rdi
		0x48, 0x89, 0xf7,             // mov rdi, rsi
		0x48, 0x89, 0xd6,             // mov rsi, rdx
		0x48, 0x89, 0xca,             // mov rdx, rcx
		0x0f, 0x05, 0xc3,             // site: syscall; ret
	};
	unsigned char other[] = {
		0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0, // mov rsi, parameters
		0xbf, 1, 0, 0, 0,             // mov edi, 1
		0xb8, 0, 0, 0, 0,             // mov eax, nr
		0x0f, 0x05, 0xc3,             // syscall; ret
	};
	void *at = parameters;
	int nr = SYS_io_uring_setup;
	memcpy(other + 2, &at, 8);
	memcpy(other + 16, &nr, 4);
	memcpy((void *)page, call, sizeof call);
	memcpy((void *)(page + 64), other, sizeof other);
}

static void *rewrite(void *unused)
{
	volatile unsigned short *site = (volatile unsigned short *)(page + 12);
	(void)unused;
	while (!atomic_load(&stop)) {
		*site = 0x32eb; // jmp to page + 64
		for (int i = 0; i < 200; i++)
			__asm__ volatile("pause");
		*site = 0x050f;
		for (int i = 0; i < 200; i++)
			__asm__ volatile("pause");
	}
	return NULL;
}

int main(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/tmp/listener" };
	pthread_t thread;
	time_t end = time(NULL) + 1;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	write_page();
	unlink(name.sun_path);
	if (bind(listener, (void *)&name, sizeof name) < 0)
		perror("bind");
	pthread_create(&thread, NULL, rewrite, NULL);
	while (time(NULL) < end) {
		((long (*)(long, long, long, long))page)(SYS_connect, fd, (long)&name, sizeof name);
		for (int other = 5; other < 16; other++)
			if (fcntl(other, F_GETFD) >= 0) {
				printf("a descriptor that nobody gave: %d\n", other);
				return 1;
			}
	}
	atomic_store(&stop, 1);
	pthread_join(thread, NULL);
	puts("kept out");
	return 0;
}
