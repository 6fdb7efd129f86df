// Load: connections that each send one request after the other, and the time each answer took.
//
// Usage: load PORT METHOD PATH SIZE FRAMING CONNECTIONS SECONDS COUNT KEYS
//   SIZE     bytes in the body of each request
//   FRAMING  of that body: length, or chunks, of 32 KiB each
//   SECONDS  for how long new requests are begun; 0: until COUNT
//   COUNT    how many requests are begun at most; 0: as many as SECONDS allow
//   KEYS     a file of API keys, one a line, taken in turn
// Prints one line of JSON. Requests that are begun are also ended, so that whoever counts them
// (a ledger, for instance) must come to the same number.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, PIECE = 1 << 20, BODY_WITH_HEAD = 16384, KEYS_MAX = 4096 };
enum { STALLED_MS = 30000 };
enum { CHUNK = 32768, FRAMED = CHUNK + 8 };  // with its head and the line break behind it
#define FILE_SIZE (64LL << 20)

static const char CHUNK_HEAD[] = "8000\r\n", LAST_CHUNK[] = "0\r\n\r\n";
enum { LAST = sizeof LAST_CHUNK - 1 };

enum state { IDLE, SENDING, READING_HEAD, READING_BODY };

struct request { char *bytes; long long length; };  // the head and the beginning of the body

struct connection {
    int fd, closing;
    enum state state;
    const struct request *request;
    long long sent, answer_left;  // of an answer in chunks: as long as a long long can say
    double began;
    char head[HEAD_MAX], tail[LAST];
    int head_length;
};

static struct request requests[KEYS_MAX];
static int request_count, poller, port, body_file, chunked;
static long long size, wire_size, with_head, file_size, begun, ended, received, count, errors, connects;
static double stop_at;
static unsigned *latencies_us;
static size_t latencies_room;
static char waste[PIECE];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void wait_for(struct connection *c, unsigned events, int how) {
    struct epoll_event event = {events, {.ptr = c}};
    if (epoll_ctl(poller, how, c->fd, &event)) fail("epoll_ctl");
}

static void dial(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&to, sizeof to)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    wait_for(c, EPOLLIN, EPOLL_CTL_ADD);
    connects++;
}

// 0: all is sent, 1: the socket is full, -1: the connection is gone.
static int send_on(struct connection *c) {
    const struct request *r = c->request;
    long long total = r->length + wire_size - with_head, end = total - (chunked ? LAST : 0);
    while (c->sent < total) {
        ssize_t n;
        if (c->sent < r->length) {
            int more = total > r->length ? MSG_MORE : 0;
            n = send(c->fd, r->bytes + c->sent, r->length - c->sent, MSG_NOSIGNAL | more);
        } else if (c->sent < end) {
            off_t at = (c->sent - r->length) % file_size;
            long long piece = end - c->sent;
            if (piece > PIECE) piece = PIECE;
            if (piece > file_size - at) piece = file_size - at;
            n = sendfile(c->fd, body_file, &at, piece);
        } else {
            n = send(c->fd, LAST_CHUNK + (c->sent - end), total - c->sent, MSG_NOSIGNAL);
        }
        if (n < 0) return errno == EAGAIN ? 1 : -1;
        c->sent += n;
    }
    return 0;
}

// Whether the answer has ended, of which these bytes came last: those of its chunks are all alike.
static int is_last(struct connection *c, const char *bytes, long long n) {
    int kept = n < LAST ? LAST - n : 0;
    memmove(c->tail, c->tail + LAST - kept, kept);
    memcpy(c->tail + kept, bytes + n - (LAST - kept), LAST - kept);
    return !memcmp(c->tail, LAST_CHUNK, LAST);
}

static void begin(struct connection *c);

static void end(struct connection *c, int bad) {
    if (ended == (long long)latencies_room) {
        latencies_room = latencies_room ? 2 * latencies_room : 65536;
        latencies_us = realloc(latencies_us, latencies_room * sizeof *latencies_us);
        if (!latencies_us) fail("realloc");
    }
    latencies_us[ended++] = (unsigned)((now() - c->began) * 1e6);
    errors += bad;
    if (bad || c->closing) {
        close(c->fd);
        c->fd = -1;
    }
    begin(c);
}

static void begin(struct connection *c) {
    c->state = IDLE;
    if ((count && begun >= count) || (stop_at > 0 && now() >= stop_at)) return;
    if (c->fd < 0) dial(c);
    c->request = &requests[begun++ % request_count];
    c->sent = 0;
    c->head_length = c->closing = 0;
    c->began = now();
    c->state = SENDING;
    switch (send_on(c)) {
    case 0: c->state = READING_HEAD; break;
    case 1: wait_for(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD); break;
    default: end(c, 1);
    }
}

// Takes in what is known of the answer's head; 0: there is more to come, -1: it cannot be used.
static int read_head(struct connection *c) {
    char *stop, *field;
    ssize_t n = recv(c->fd, c->head + c->head_length, HEAD_MAX - 1 - c->head_length, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    c->head_length += n;
    c->head[c->head_length] = 0;
    stop = strstr(c->head, "\r\n\r\n");
    if (!stop) return c->head_length < HEAD_MAX - 1 ? 0 : -1;
    if (strncmp(c->head + 8, " 200", 4)) {
        if (!errors) fprintf(stderr, "%.*s\n", (int)(stop - c->head), c->head);
        return -1;
    }
    int rest = c->head_length - (stop + 4 - c->head);
    field = strcasestr(c->head, "\r\ntransfer-encoding: chunked");
    if (field && field < stop) {
        memset(c->tail, 0, LAST);
        c->answer_left = rest && is_last(c, stop + 4, rest) ? 0 : LLONG_MAX;
    } else {
        field = strcasestr(c->head, "\r\ncontent-length:");
        if (!field || field > stop) return -1;
        c->answer_left = atoll(field + 17) - rest;
    }
    field = strcasestr(c->head, "\r\nconnection: close");
    c->closing = field && field < stop;
    return 1;
}

static void go_on(struct connection *c, unsigned events) {
    if (c->state == IDLE) {  // closed by the server while nothing was asked
        close(c->fd);
        c->fd = -1;
        return;
    }
    if (c->state == SENDING) {
        int way = events & EPOLLIN ? -1 : send_on(c);  // an answer before the end is a refusal
        if (way < 0) end(c, 1);
        if (way != 0) return;
        c->state = READING_HEAD;
        wait_for(c, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    if (c->state == READING_HEAD) {
        int way = read_head(c);
        if (way < 0) end(c, 1);
        if (way <= 0) return;
        c->state = READING_BODY;
        if (c->answer_left <= 0) {
            end(c, c->answer_left < 0);
            return;
        }
    }
    for (int turn = 0; turn < 16; turn++) {  // MSG_TRUNC: the kernel need not copy what is wasted
        size_t most = c->answer_left < 4 * PIECE ? c->answer_left : 4 * PIECE;
        int seen = c->answer_left == LLONG_MAX;
        if (seen) most = PIECE;
        ssize_t n = recv(c->fd, waste, most, seen ? 0 : MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            end(c, 1);
            return;
        }
        received += n;
        if (!seen) c->answer_left -= n;
        else if (is_last(c, waste, n)) c->answer_left = 0;
        if (!c->answer_left) {
            end(c, 0);
            return;
        }
    }
}

static void prepare(const char *method, const char *path, const char *keys) {
    char key[512];
    with_head = chunked ? 0 : size < BODY_WITH_HEAD ? size : BODY_WITH_HEAD;
    wire_size = chunked ? size / CHUNK * FRAMED + LAST : size;
    file_size = chunked ? FILE_SIZE / CHUNK * FRAMED : FILE_SIZE;
    FILE *file = fopen(keys, "r");
    if (!file) fail(keys);
    while (request_count < KEYS_MAX && fscanf(file, "%511s", key) == 1) {
        struct request *r = &requests[request_count++];
        char *bytes = malloc(2048 + with_head);
        int n = sprintf(bytes,
                        "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load/1.0\r\n"
                        "Accept: */*\r\nX-API-Key: %s\r\n", method, path, key);
        if (strcmp(method, "GET")) {
            n += sprintf(bytes + n, "Content-Type: application/octet-stream\r\n");
            n += chunked ? sprintf(bytes + n, "Transfer-Encoding: chunked\r\n")
                         : sprintf(bytes + n, "Content-Length: %lld\r\n", size);
        }
        n += sprintf(bytes + n, "\r\n");
        memset(bytes + n, 'y', with_head);
        r->bytes = bytes;
        r->length = n + with_head;
    }
    fclose(file);
    if (!request_count) fail("no keys");
    body_file = memfd_create("body", 0);
    memset(waste, 'y', sizeof waste);
    char framed[FRAMED];
    memset(framed, 'y', FRAMED);
    memcpy(framed, CHUNK_HEAD, sizeof CHUNK_HEAD - 1);
    memcpy(framed + FRAMED - 2, "\r\n", 2);
    int piece = chunked ? FRAMED : PIECE;
    for (long long at = 0; at < file_size; at += piece)
        if (write(body_file, chunked ? framed : waste, piece) != piece) fail("memfd");
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static unsigned percentile(double share) {
    return ended ? latencies_us[(long long)(share * (ended - 1))] : 0;
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: load PORT METHOD PATH SIZE FRAMING CONNECTIONS SECONDS COUNT KEYS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    size = atoll(argv[4]);
    chunked = !strcmp(argv[5], "chunks");
    if (chunked && size % CHUNK) {
        fprintf(stderr, "a body in chunks is some times %d bytes\n", CHUNK);
        return 2;
    }
    int width = atoi(argv[6]);
    double seconds = atof(argv[7]);
    count = atoll(argv[8]);
    prepare(argv[2], argv[3], argv[9]);
    poller = epoll_create1(0);
    struct connection *all = calloc(width, sizeof *all);
    for (int i = 0; i < width; i++) {
        all[i].fd = -1;
        dial(&all[i]);
    }
    double from = now();
    stop_at = seconds > 0 ? from + seconds : 0;
    for (int i = 0; i < width; i++) begin(&all[i]);
    while (ended < begun) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, STALLED_MS);
        if (n < 0 && errno != EINTR) fail("epoll_wait");
        if (n == 0) {
            fprintf(stderr, "%lld requests have stalled\n", begun - ended);
            return 1;
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0) go_on(c, events[i].events);
        }
    }
    double took = now() - from;
    qsort(latencies_us, ended, sizeof *latencies_us, by_size);
    printf("{\"requests\": %lld, \"seconds\": %.6f, \"errors\": %lld, \"connects\": %lld, "
           "\"received\": %lld, \"p50_us\": %u, \"p99_us\": %u}\n",
           ended, took, errors, connects, received, percentile(0.5), percentile(0.99));
    return 0;
}
