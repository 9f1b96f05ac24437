// Connects in a storm of signals whose handler lets no call begin anew.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void on(int number) { (void)number; }

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = on};
    struct itimerval storm = {{0, 300}, {0, 300}}, calm = {{0, 0}, {0, 0}};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int made = 0;
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < 100; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), why = 0;
        setitimer(ITIMER_REAL, &storm, NULL);
        int result = connect(fd, (void *)&to, sizeof to);
        int first = errno;
        setitimer(ITIMER_REAL, &calm, NULL);
        if (result < 0 && first == EINTR) {
            // It goes on in the background.
            struct pollfd wait = {fd, POLLOUT, 0};
            socklen_t size = sizeof why;
            while (poll(&wait, 1, 30000) < 0) {}
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size);
            result = why ? -1 : 0;
            first = why;
        }
        if (result == 0) made++;
        else printf("%d: %s\n", i, strerrorname_np(first));
        close(fd);
    }
    printf("%d made\n", made);
    return 0;
}
