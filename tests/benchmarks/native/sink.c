// Sink: an upstream that costs next to nothing. It swallows the bodies of requests and answers
// with a little JSON; GET …/bytes/N is answered with N bytes. HTTP/1.1 with Content-Length only.
//
// Usage: sink PORT
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, PIECE = 1 << 20 };
#define FILE_SIZE (64LL << 20)

enum state { READING_HEAD, SWALLOWING, SENDING };

struct connection {
    int fd;
    enum state state;
    char head[HEAD_MAX];
    int head_length;
    long long left;
};

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Type: application/json\r\n"
    "Content-Length: 27\r\n\r\n{\"ok\":true,\"id\":\"abcdefgh\"}";
static int poller, body_file;
static char waste[PIECE];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void wait_for(struct connection *c, unsigned events, int how) {
    struct epoll_event event = {events, {.ptr = c}};
    if (epoll_ctl(poller, how, c->fd, &event)) fail("epoll_ctl");
}

// All of these answer 1: go on, 0: wait for the socket, -1: the connection is over.

static int answer(struct connection *c) {
    c->state = READING_HEAD;
    return send(c->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) == sizeof ANSWER - 1 ? 1 : -1;
}

static int send_on(struct connection *c) {
    while (c->left > 0) {
        off_t at = FILE_SIZE - 1 - (c->left - 1) % FILE_SIZE;
        long long piece = c->left < PIECE ? c->left : PIECE;
        if (piece > FILE_SIZE - at) piece = FILE_SIZE - at;
        ssize_t n = sendfile(c->fd, body_file, &at, piece);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->left -= n;
    }
    c->state = READING_HEAD;
    return 1;
}

static int begin_sending(struct connection *c, long long size) {
    char head[256];
    int n = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                          "Content-Length: %lld\r\n\r\n", size);
    if (send(c->fd, head, n, MSG_NOSIGNAL | MSG_MORE) != n) return -1;
    c->state = SENDING;
    c->left = size;
    int way = send_on(c);
    if (way == 0) wait_for(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return way;
}

// A head that has come whole, and what came with it of the body.
static int take_head(struct connection *c) {
    char *stop = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (!stop) return c->head_length < HEAD_MAX - 1 ? 0 : -1;
    int rest = c->head_length - (stop + 4 - c->head);
    *stop = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    char *bytes = strstr(c->head, "/bytes/");
    long long size = length ? atoll(length + 17) : 0;
    if (!strncmp(c->head, "GET ", 4) && bytes) {
        c->head_length = 0;
        return begin_sending(c, atoll(bytes + 7));
    }
    if (rest < size) {
        c->left = size - rest;
        c->head_length = 0;
        c->state = SWALLOWING;
        return 1;
    }
    c->head_length = rest - size;
    memmove(c->head, stop + 4 + size, c->head_length);
    return answer(c);
}

static int go_on(struct connection *c) {
    if (c->state == SENDING) {
        int way = send_on(c);
        if (way == 1) wait_for(c, EPOLLIN, EPOLL_CTL_MOD);
        return way;
    }
    for (int turn = 0; turn < 64; turn++) {
        if (c->state == READING_HEAD) {
            ssize_t n = recv(c->fd, c->head + c->head_length, HEAD_MAX - 1 - c->head_length, 0);
            if (n < 0 && errno == EAGAIN) return 0;
            if (n <= 0) return -1;
            c->head_length += n;
            int way = take_head(c);
            if (way < 0) return way;
            if (c->state != SWALLOWING) return 1;  // the next request is another event
        } else {  // MSG_TRUNC: the kernel need not copy what is wasted
            ssize_t n = recv(c->fd, waste, c->left < 4 * PIECE ? c->left : 4 * PIECE, MSG_TRUNC);
            if (n < 0 && errno == EAGAIN) return 0;
            if (n <= 0) return -1;
            c->left -= n;
            if (!c->left) return answer(c);
        }
    }
    return 1;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        wait_for(c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: sink PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    body_file = memfd_create("body", 0);
    memset(waste, 'x', sizeof waste);
    for (long long at = 0; at < FILE_SIZE; at += PIECE)
        if (write(body_file, waste, PIECE) != PIECE) fail("memfd");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) fail("bind");
    poller = epoll_create1(0);
    struct epoll_event all[256], event = {EPOLLIN, {.ptr = 0}};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poller, all, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = all[i].data.ptr;
            if (!c) {
                accept_all(listener);
            } else if (go_on(c) < 0) {
                close(c->fd);
                free(c);
            }
        }
    }
}
