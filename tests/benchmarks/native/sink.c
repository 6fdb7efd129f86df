// Sink: an upstream that costs next to nothing. It swallows the bodies of requests and answers
// with a little JSON; GET …/bytes/N is answered with N bytes, GET …/bytes/chunks/N with the same in
// chunks of 32 KiB. HTTP/1.1 only; what chunks hold may be anything but line breaks.
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
enum { CHUNK = 32768, FRAMED = CHUNK + 8 };  // with its head and the line break behind it
#define FILE_SIZE (64LL << 20)
#define FRAMED_FILE_SIZE (FILE_SIZE / CHUNK * FRAMED)

static const char CHUNK_HEAD[] = "8000\r\n", LAST_CHUNK[] = "0\r\n\r\n";
enum { LAST = sizeof LAST_CHUNK - 1 };

enum state { READING_HEAD, SWALLOWING, SWALLOWING_CHUNKS, SENDING };

struct connection {
    int fd;
    enum state state;
    char head[HEAD_MAX], tail[LAST];
    int head_length, in_chunks;
    long long left;
};

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Type: application/json\r\n"
    "Content-Length: 27\r\n\r\n{\"ok\":true,\"id\":\"abcdefgh\"}";
static int poller, body_file, framed_file;
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
    long long size = c->in_chunks ? FRAMED_FILE_SIZE : FILE_SIZE;
    while (c->left > 0) {
        off_t at = size - 1 - (c->left - 1) % size;
        long long piece = c->left < PIECE ? c->left : PIECE;
        if (piece > size - at) piece = size - at;
        ssize_t n = sendfile(c->fd, c->in_chunks ? framed_file : body_file, &at, piece);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->left -= n;
    }
    c->state = READING_HEAD;
    if (!c->in_chunks) return 1;
    return send(c->fd, LAST_CHUNK, LAST, MSG_NOSIGNAL) == LAST ? 1 : -1;
}

static int begin_sending(struct connection *c, long long size, int in_chunks) {
    char head[256];
    int n = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n");
    n += in_chunks ? sprintf(head + n, "Transfer-Encoding: chunked\r\n\r\n")
                   : sprintf(head + n, "Content-Length: %lld\r\n\r\n", size);
    if (send(c->fd, head, n, MSG_NOSIGNAL | MSG_MORE) != n) return -1;
    c->state = SENDING;
    c->in_chunks = in_chunks;
    c->left = in_chunks ? size / CHUNK * FRAMED : size;
    int way = send_on(c);
    if (way == 0) wait_for(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return way;
}

// Whether the body has ended, of which these bytes came last.
static int is_last(struct connection *c, const char *bytes, long long n) {
    int kept = n < LAST ? LAST - n : 0;
    memmove(c->tail, c->tail + LAST - kept, kept);
    memcpy(c->tail + kept, bytes + n - (LAST - kept), LAST - kept);
    return !memcmp(c->tail, LAST_CHUNK, LAST);
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
        int in_chunks = !strncmp(bytes + 7, "chunks/", 7);
        return begin_sending(c, atoll(bytes + 7 + (in_chunks ? 7 : 0)), in_chunks);
    }
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
        memset(c->tail, 0, LAST);
        c->head_length = 0;
        if (rest && is_last(c, stop + 4, rest)) return answer(c);
        c->state = SWALLOWING_CHUNKS;
        return 1;
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
            if (c->state == READING_HEAD || c->state == SENDING) return 1;  // another event
        } else if (c->state == SWALLOWING_CHUNKS) {
            ssize_t n = recv(c->fd, waste, PIECE, 0);
            if (n < 0 && errno == EAGAIN) return 0;
            if (n <= 0) return -1;
            if (is_last(c, waste, n)) return answer(c);
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
    framed_file = memfd_create("framed", 0);
    char framed[FRAMED];
    memset(framed, 'x', FRAMED);
    memcpy(framed, CHUNK_HEAD, sizeof CHUNK_HEAD - 1);
    memcpy(framed + FRAMED - 2, "\r\n", 2);
    for (long long at = 0; at < FRAMED_FILE_SIZE; at += FRAMED)
        if (write(framed_file, framed, FRAMED) != FRAMED) fail("memfd");
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
