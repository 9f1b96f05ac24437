// Every way to send with an address, which the engine is to have or nobody.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_storage to[2];
static struct iovec bytes = {"hello", 5};

static struct sockaddr_in *at(int port) {
    static int next;
    struct sockaddr_in *in = (void *)&to[next++ % 2];
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    inet_pton(AF_INET, "127.0.0.1", &in->sin_addr);
    return in;
}

static void say(const char *what, long result) {
    if (result < 0) printf("%s %ld %s\n", what, result, strerrorname_np(errno));
    else printf("%s %ld\n", what, result);
}

static void echoed(const char *what, int fd, long result) {
    char got[6] = {0};
    if (result < 0) return say(what, result);
    recv(fd, got, 5, MSG_WAITALL);
    printf("%s %ld %s", what, result, got);
    close(fd);
}

int main(int argc, char **argv) {
    int port = atoi(argv[1]);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in *in = at(port);
    struct msghdr one = {.msg_name = in, .msg_namelen = sizeof *in, .msg_iov = &bytes, .msg_iovlen = 1};
    struct msghdr wide = one;
    wide.msg_namelen = 200;
    struct mmsghdr two[2] = {{one, 0}, {one, 0}};
    setvbuf(stdout, NULL, _IONBF, 0);
    say("sendto", sendto(udp, "hello", 5, 0, (void *)in, sizeof *in));
    struct sockaddr_in none = *in;
    none.sin_family = AF_UNSPEC;
    say("sendto an address without a family", sendto(udp, "hello", 5, 0, (void *)&none, sizeof none));
    say("sendmsg", sendmsg(udp, &one, 0));
    say("sendmsg with a long address", sendmsg(udp, &wide, 0));
    say("sendmmsg", sendmmsg(udp, two, 2, 0));
    two[0].msg_hdr = wide;
    say("sendmmsg with a long address", sendmmsg(udp, two, 2, 0));

    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gap = pages + 4096;
    mprotect(gap, 4096, PROT_NONE);
    struct mmsghdr *last = (void *)(gap - sizeof *last);
    last->msg_hdr = one;
    say("sendmmsg half of which is there", sendmmsg(udp, last, 2, 0));
    two[0].msg_hdr = one;
    two[0].msg_hdr.msg_name = at(53);
    two[1].msg_hdr = one;
    two[1].msg_hdr.msg_name = at(port);
    say("sendmmsg whose first goes to the resolver", sendmmsg(udp, two, 2, 0));
    two[0].msg_hdr.msg_name = two[1].msg_hdr.msg_name;
    two[1].msg_hdr.msg_name = gap;
    say("sendmmsg whose second address is not there", sendmmsg(udp, two, 2, 0));
    say("sendmsg that is not there", sendmsg(udp, (void *)gap, 0));
    say("sendto an address that is not there", sendto(udp, "hello", 5, 0, (void *)gap, sizeof *in));
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    say("connect to an address that is not there", connect(tcp, (void *)gap, sizeof *in));
    close(tcp);

    tcp = socket(AF_INET, SOCK_STREAM, 0);
    echoed("fast sendto", tcp, sendto(tcp, "hello", 5, MSG_FASTOPEN, (void *)two[0].msg_hdr.msg_name, sizeof *in));
    puts("");
    one.msg_name = two[0].msg_hdr.msg_name;
    tcp = socket(AF_INET, SOCK_STREAM, 0);
    echoed("fast sendmsg", tcp, sendmsg(tcp, &one, MSG_FASTOPEN));
    puts("");
    for (int count = 1; count <= 2; count++) {
        two[0] = two[1] = (struct mmsghdr){one, 0};
        tcp = socket(AF_INET, SOCK_STREAM, 0);
        echoed(count == 1 ? "fast sendmmsg" : "fast sendmmsg of two", tcp, sendmmsg(tcp, two, count, MSG_FASTOPEN));
        printf(", %u of 5\n", two[0].msg_len);
    }
    return 0;
}
