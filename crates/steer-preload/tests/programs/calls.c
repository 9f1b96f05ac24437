// Every way to start a program, each with an environment that has nothing of the caller's, and
// ways to connect that are not connect().
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *curl = "/usr/bin/curl";
static char *none[] = {NULL};

static void reap(void) {
    int status;
    wait(&status);
    if (status) { printf("failed %d\n", status); fflush(stdout); }
}

int main(int argc, char **argv) {
    char *url = argv[1];
    char *args[] = {"curl", "-sS", url, NULL};
    char *path = "PATH=/usr/bin:/bin";
    char *env[] = {path, "EMPTY=", NULL};
    setvbuf(stdout, NULL, _IONBF, 0);
    unsetenv("LD_PRELOAD");
    unsetenv("STEER_PRELOAD");
    if (!fork()) { execl(curl, "curl", "-sS", url, (char *)NULL); _exit(1); } reap();
    if (!fork()) { execlp("curl", "curl", "-s", "-S", "--max-time", "20", "--connect-timeout", "20", "-o", "-", url, (char *)NULL); _exit(1); } reap();
    if (!fork()) { execle(curl, "curl", "-s", "-S", "--max-time", "20", url, (char *)NULL, none); _exit(1); } reap();
    if (!fork()) { execve(curl, args, NULL); _exit(1); } reap();
    if (!vfork()) { execve(curl, args, env); _exit(1); } reap();
    if (!fork()) { fexecve(open(curl, O_RDONLY), args, none); _exit(1); } reap();
    if (!fork()) { execveat(AT_FDCWD, curl, args, none, 0); _exit(1); } reap();
    if (!fork()) { syscall(SYS_execve, curl, args, none); _exit(1); } reap();
    pid_t pid;
    posix_spawn(&pid, curl, NULL, NULL, args, env); reap();

    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "203.0.113.9", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    printf("syscall %ld\n", syscall(SYS_connect, fd, &to, sizeof to));
    close(fd);
    char got[6] = {0};
    fd = socket(AF_INET, SOCK_STREAM, 0);
    int sent = sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to);
    recv(fd, got, 5, MSG_WAITALL);
    printf("fastopen %d %s\n", sent, got);
    errno = 0;
    long ring = syscall(425, 8, NULL);
    printf("uring %ld %d\n", ring, errno);
    puts("done");
    return 0;
}
