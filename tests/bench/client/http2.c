#include "http2.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATA, HEADERS, PRIORITY_FRAME, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { HEADER_TABLE_SIZE = 1, ENABLE_PUSH = 2, INITIAL_WINDOW_SIZE = 4 };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define FRAME_HEADER 9
#define FRAME_MAX 16384
#define OUR_STREAM_WINDOW (1u << 20)
#define OUR_WINDOW_MORE (1u << 30)
#define READ_AT_ONCE 65536

void buffer_add(buffer *to, const void *bytes, size_t length) {
  if (to->length + length > to->room) {
    to->room = (to->length + length) * 2;
    to->bytes = realloc(to->bytes, to->room);
    if (to->bytes == NULL) abort();
  }
  memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
}

static void put32(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *from) {
  return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void send_frame(connection *at, int type, int flags, uint32_t stream, const void *payload, size_t length) {
  uint8_t head[FRAME_HEADER];
  put32(head, (uint32_t)length << 8);
  head[3] = (uint8_t)type;
  head[4] = (uint8_t)flags;
  put32(head + 5, stream);
  buffer_add(&at->out, head, sizeof head);
  if (length) buffer_add(&at->out, payload, length);
}

static void open_window(connection *at, uint32_t stream, uint32_t more) {
  uint8_t payload[4];
  put32(payload, more);
  send_frame(at, WINDOW_UPDATE, 0, stream, payload, sizeof payload);
}

static void lose(connection *at, const char *why) {
  if (at->lost) return;
  at->lost = 1;
  snprintf(at->why, sizeof at->why, "%s", why);
}

// --- opening ---

static int connect_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static int connect_tcp(const char *target) {
  char host[256];
  const char *colon = strrchr(target, ':');
  if (colon == NULL || (size_t)(colon - target) >= sizeof host) {
    errno = EINVAL;
    return -1;
  }
  memcpy(host, target, (size_t)(colon - target));
  host[colon - target] = 0;
  struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(host, colon + 1, &wanted, &found)) {
    errno = EHOSTUNREACH;
    return -1;
  }
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
    close(fd);
    fd = -1;
  }
  if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  freeaddrinfo(found);
  return fd;
}

int http2_open(connection *made, const char *target, int slots, const http2_events *events) {
  memset(made, 0, sizeof *made);
  made->fd = strncmp(target, "unix:", 5) == 0 ? connect_unix(target + 5) : connect_tcp(target);
  if (made->fd < 0) return -1;
  made->slots = slots;
  made->ids = calloc((size_t)slots, sizeof *made->ids);
  made->taken = calloc((size_t)slots, sizeof *made->taken);
  if (made->ids == NULL || made->taken == NULL) abort();
  made->next_id = 1;
  made->window = made->stream_window_first = 65535;
  made->events = events;
  hpack_init(&made->decoder);
  uint8_t settings[12] = {0, ENABLE_PUSH, 0, 0, 0, 0, 0, INITIAL_WINDOW_SIZE};
  put32(settings + 8, OUR_STREAM_WINDOW);
  buffer_add(&made->out, PREFACE, strlen(PREFACE));
  send_frame(made, SETTINGS, 0, 0, settings, sizeof settings);
  open_window(made, 0, OUR_WINDOW_MORE);
  return 0;
}

// --- requests ---

int http2_free_slot(const connection *at, size_t body_length) {
  int64_t room = at->window < at->stream_window_first ? at->window : at->stream_window_first;
  if (at->lost || !at->ready || at->streams_open == at->slots || (int64_t)body_length > room) return -1;
  for (int slot = 0; slot < at->slots; slot++)
    if (at->ids[slot] == 0) return slot;
  return -1;
}

void http2_request(connection *at, int slot, const constant *constants, size_t count, const char *path,
                   const uint8_t *body, size_t body_length) {
  uint8_t block[FRAME_MAX], *end = block;
  // Pseudo-headers go first: the path before the others, in whatever way each is written.
  if (path != NULL) end = hpack_write_literal(end, ":path", path, strlen(path), 0);
  for (size_t i = 0; i < count; i++) {
    if (at->constants_remembered)
      end = hpack_write_remembered(end, i, at->remembered);
    else
      end = hpack_write_literal(end, constants[i].name, constants[i].value, strlen(constants[i].value), 1);
  }
  at->constants_remembered = 1;
  at->remembered = count;
  uint32_t stream = at->next_id;
  at->next_id += 2;
  at->ids[slot] = stream;
  at->taken[slot] = 0;
  at->streams_open++;
  int ends = body == NULL ? END_STREAM : 0;
  send_frame(at, HEADERS, END_HEADERS | ends, stream, block, (size_t)(end - block));
  if (body != NULL) {
    send_frame(at, DATA, END_STREAM, stream, body, body_length);
    at->window -= (int64_t)body_length;
  }
}

// --- frames that come ---

static int slot_of(const connection *at, uint32_t stream) {
  for (int slot = 0; slot < at->slots; slot++)
    if (at->ids[slot] == stream && stream != 0) return slot;
  return -1;
}

static void end_stream(connection *at, int slot, int reset) {
  at->ids[slot] = 0;
  at->streams_open--;
  at->events->closed(at, slot, reset);
}

static void heard_header(void *context, const header *found) {
  connection *at = context;
  if (at->block_slot >= 0) at->events->headers(at, at->block_slot, found);
}

static void end_block(connection *at) {
  at->block_slot = slot_of(at, at->block_stream);
  if (hpack_decode(&at->decoder, at->block.bytes, at->block.length, heard_header, at)) {
    lose(at, "the answer's headers can't be decoded");
    return;
  }
  if (at->block_ends && at->block_slot >= 0) end_stream(at, at->block_slot, -1);
}

// Takes padding and priority off. Returns 0, or -1 when the frame is no frame.
static int unpad(const uint8_t **payload, size_t *length, int flags) {
  size_t padding = 0;
  if (flags & PADDED) {
    if (*length < 1) return -1;
    padding = **payload;
    *payload += 1;
    *length -= 1;
  }
  if (flags & PRIORITY) {
    if (*length < 5) return -1;
    *payload += 5;
    *length -= 5;
  }
  if (padding > *length) return -1;
  *length -= padding;
  return 0;
}

static void on_data(connection *at, int flags, uint32_t stream, const uint8_t *payload, size_t length) {
  size_t counted = length;
  if (unpad(&payload, &length, flags & PADDED)) {
    lose(at, "a DATA frame is malformed");
    return;
  }
  if ((at->taken_all += counted) > OUR_WINDOW_MORE / 2) {
    open_window(at, 0, (uint32_t)at->taken_all);
    at->taken_all = 0;
  }
  int slot = slot_of(at, stream);
  if (slot < 0) return;
  at->events->data(at, slot, payload, length);
  if (flags & END_STREAM) {
    end_stream(at, slot, -1);
  } else if ((at->taken[slot] += (uint32_t)counted) > OUR_STREAM_WINDOW / 2) {
    open_window(at, stream, at->taken[slot]);
    at->taken[slot] = 0;
  }
}

static void on_settings(connection *at, int flags, const uint8_t *payload, size_t length) {
  if (flags & ACK) return;
  for (; length >= 6; payload += 6, length -= 6) {
    uint32_t value = get32(payload + 2);
    if (payload[1] == INITIAL_WINDOW_SIZE) at->stream_window_first = value;
    if (payload[1] == HEADER_TABLE_SIZE && value < HPACK_TABLE_BYTES) lose(at, "the server's header table is too small");
  }
  send_frame(at, SETTINGS, ACK, 0, NULL, 0);
  at->ready = 1;
}

static void on_goaway(connection *at, const uint8_t *payload, size_t length) {
  char why[120];
  snprintf(why, sizeof why, "the server closed the connection (GOAWAY, error %u)", length >= 8 ? get32(payload + 4) : 0);
  lose(at, why);
}

static void on_frame(connection *at, int type, int flags, uint32_t stream, const uint8_t *payload, size_t length) {
  int slot;
  switch (type) {
    case DATA:
      on_data(at, flags, stream, payload, length);
      break;
    case HEADERS:
    case CONTINUATION:
      if (type == HEADERS) {
        if (unpad(&payload, &length, flags)) {
          lose(at, "a HEADERS frame is malformed");
          return;
        }
        at->block.length = 0;
        at->block_stream = stream;
        at->block_ends = flags & END_STREAM;
      }
      buffer_add(&at->block, payload, length);
      if (flags & END_HEADERS) end_block(at);
      break;
    case RST_STREAM:
      slot = slot_of(at, stream);
      if (slot >= 0 && length == 4) end_stream(at, slot, (int)get32(payload));
      break;
    case SETTINGS:
      on_settings(at, flags, payload, length);
      break;
    case PING:
      if (!(flags & ACK)) send_frame(at, PING, ACK, 0, payload, length);
      break;
    case GOAWAY:
      on_goaway(at, payload, length);
      break;
    case WINDOW_UPDATE:  // a stream's own is never needed: a body fits the first window
      if (stream == 0 && length == 4) at->window += get32(payload) & 0x7fffffff;
      break;
    default:  // PRIORITY and what is unknown
      break;
  }
}

static void take_frames(connection *at) {
  size_t done = 0;
  while (!at->lost && at->in.length - done >= FRAME_HEADER) {
    const uint8_t *head = at->in.bytes + done;
    size_t length = get32(head) >> 8;
    if (length > FRAME_MAX) {
      lose(at, "a frame is larger than was allowed");
      break;
    }
    if (at->in.length - done < FRAME_HEADER + length) break;
    on_frame(at, head[3], head[4], get32(head + 5) & 0x7fffffff, head + FRAME_HEADER, length);
    done += FRAME_HEADER + length;
  }
  memmove(at->in.bytes, at->in.bytes + done, at->in.length - done);
  at->in.length -= done;
}

void http2_read(connection *at) {
  static uint8_t chunk[READ_AT_ONCE];
  while (!at->lost) {
    ssize_t got = recv(at->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      lose(at, got == 0 ? "the server closed the connection" : strerror(errno));
      return;
    }
    buffer_add(&at->in, chunk, (size_t)got);
    take_frames(at);
    if ((size_t)got < sizeof chunk) return;
  }
}

int http2_flush(connection *at) {
  size_t done = 0;
  while (!at->lost && done < at->out.length) {
    ssize_t sent = send(at->fd, at->out.bytes + done, at->out.length - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (sent < 0) {
      lose(at, strerror(errno));
      break;
    }
    done += (size_t)sent;
  }
  memmove(at->out.bytes, at->out.bytes + done, at->out.length - done);
  at->out.length -= done;
  return at->out.length > 0;
}
