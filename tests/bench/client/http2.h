// One HTTP/2 connection of a client, as much of RFC 9113 as a load generator needs. Prior knowledge, no TLS.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "hpack.h"

#define BODY_MAX 16384  // of a request: one DATA frame, whatever the server allows

typedef struct connection connection;

// What a connection tells its user. slot: the stream's, as given to http2_request.
typedef struct {
  void (*headers)(connection *to, int slot, const header *found);
  void (*data)(connection *to, int slot, const uint8_t *bytes, size_t length);
  void (*closed)(connection *to, int slot, int reset);  // reset: -1, or the error code of RST_STREAM
} http2_events;

typedef struct {
  const char *name, *value;
} constant;

typedef struct {
  uint8_t *bytes;
  size_t length, room;
} buffer;

struct connection {
  int fd, number, slots, streams_open;
  int ready;      // the server's settings have come: requests may go
  int lost;       // nothing more can be done with it; `why` says why
  char why[200];
  uint32_t *ids;  // stream of each slot, 0: none
  uint32_t *taken;  // bytes that came on each slot's stream since its window was opened again
  uint32_t next_id;
  int64_t window, stream_window_first;
  size_t taken_all;
  int constants_remembered;
  size_t remembered;
  buffer in, out, block;
  uint32_t block_stream;
  int block_ends, block_slot;
  hpack_table decoder;
  const http2_events *events;
};

void buffer_add(buffer *to, const void *bytes, size_t length);

// target: unix:/path or host:port. Returns 0, or -1 with errno set.
int http2_open(connection *made, const char *target, int slots, const http2_events *events);

// A slot without a stream, or -1: also while the window of the connection is too small for such a body.
int http2_free_slot(const connection *at, size_t body_length);

// Sends a request. path NULL: it is among the constants. body NULL: a request without one.
void http2_request(connection *at, int slot, const constant *constants, size_t count, const char *path,
                   const uint8_t *body, size_t body_length);

// Reads and writes what can be without waiting. Returns 1 when there is more to write.
void http2_read(connection *at);
int http2_flush(connection *at);
