// What the two modes of the generator share: the command line, the requests, clocks.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "http2.h"

#define CONSTANTS_MAX 32
#define COUNTER_DIGITS 10
#define TARGETS_MAX 16

typedef struct {
  char *path;  // NULL: among the constants
  uint8_t *body;  // NULL: none
  size_t body_length;
  int counter_at;  // where in the body the request's number goes, -1: nowhere
} request;

typedef struct {
  const char *targets[TARGETS_MAX], *expected, *out;  // connections take the targets in turn
  int targets_count;
  constant constants[CONSTANTS_MAX];
  size_t constants_count;
  request *requests;
  size_t requests_count;
  int connections, streams;
  double seconds, warm_up, rate;
  uint64_t first_number;
} options;

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t monotonic_ns(void);

// Prints `, "name": "…"` for JSON: whatever the bytes are, hex needs no quoting.
void print_hex(const char *name, const void *bytes, size_t length);

connection *connect_all(const options *given, const http2_events *events);

// Waits until something can be read or written, at most this long, and reads it. Returns the connections lost by now.
int turn(connection *all, int count, uint64_t wait_ns);

int run_load(const options *given);
int run_watch(const options *given);
