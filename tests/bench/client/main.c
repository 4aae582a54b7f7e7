// loadgen load|watch: load for the bench from one thread, over HTTP/2: gRPC or REST. How it is used: docs/bench.md.
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loadgen.h"

void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("loadgen: ", stderr);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  va_end(values);
  exit(2);
}

uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void print_hex(const char *name, const void *bytes, size_t length) {
  printf(", \"%s\": \"", name);
  for (size_t i = 0; i < length; i++) printf("%02x", ((const uint8_t *)bytes)[i]);
  printf("\"");
}

// --- input ---

static char *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("%s: %s", path, strerror(errno));
  buffer all = {0};
  char chunk[65536];
  size_t got;
  while ((got = fread(chunk, 1, sizeof chunk, file)) > 0) buffer_add(&all, chunk, got);
  fclose(file);
  *length = all.length;
  buffer_add(&all, "", 1);
  return (char *)all.bytes;
}

// One `name: value` a line; pseudo-headers first. Sent with every request.
static void read_constants(options *to, const char *path) {
  size_t length, weight = 0;
  char *line = strtok(read_file(path, &length), "\n");
  for (; line != NULL; line = strtok(NULL, "\n")) {
    char *mark = strstr(line + 1, ": ");
    if (mark == NULL || to->constants_count == CONSTANTS_MAX) fail("%s: too many headers, or one is malformed", path);
    *mark = 0;
    to->constants[to->constants_count++] = (constant){line, mark + 2};
    weight += strlen(line) + strlen(mark + 2) + 32;
  }
  if (weight > HPACK_TABLE_BYTES) fail("the headers don't fit in HPACK's table of %d bytes", HPACK_TABLE_BYTES);
}

static uint32_t take32(const char *bytes, size_t length, size_t *at) {
  uint32_t value;
  if (length - *at < sizeof value) fail("the file of requests is cut short");
  memcpy(&value, bytes + *at, sizeof value);
  *at += sizeof value;
  return value;
}

// Each: length of the path and the path, length of the body and the body, where its counter is (int32, -1: nowhere).
static void read_requests(options *to, const char *path) {
  size_t length, at = 0;
  char *bytes = read_file(path, &length);
  while (at < length) {
    to->requests = realloc(to->requests, (to->requests_count + 1) * sizeof *to->requests);
    if (to->requests == NULL) abort();
    request *made = &to->requests[to->requests_count++];
    size_t size = take32(bytes, length, &at);
    made->path = size ? strndup(bytes + at, size) : NULL;
    at += size;
    made->body_length = take32(bytes, length, &at);
    if (made->body_length > BODY_MAX) fail("a body is longer than %d bytes", BODY_MAX);
    made->body = made->body_length ? (uint8_t *)bytes + at : NULL;
    at += made->body_length;
    made->counter_at = (int)take32(bytes, length, &at);
  }
  if (to->requests_count == 0) fail("%s has no requests", path);
}

// --- connections ---

connection *connect_all(const options *given, const http2_events *events) {
  connection *all = calloc((size_t)given->connections, sizeof *all);
  if (all == NULL) abort();
  for (int i = 0; i < given->connections; i++) {
    const char *target = given->targets[i % given->targets_count];
    if (http2_open(&all[i], target, given->streams, events)) fail("%s: %s", target, strerror(errno));
    all[i].number = i;
  }
  return all;
}

int turn(connection *all, int count, uint64_t wait_ns) {
  struct pollfd polled[count];
  int lost = 0;
  for (int i = 0; i < count; i++) {
    int more = http2_flush(&all[i]);
    polled[i] = (struct pollfd){all[i].lost ? -1 : all[i].fd, (short)(POLLIN | (more ? POLLOUT : 0)), 0};
  }
  struct timespec wait = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
  if (ppoll(polled, (nfds_t)count, &wait, NULL) < 0 && errno != EINTR) fail("poll: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    if (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) http2_read(&all[i]);
    lost += all[i].lost;
  }
  return lost;
}

// --- the command line ---

static const struct option KNOWN[] = {
    {"target", required_argument, NULL, 't'},      {"headers", required_argument, NULL, 'h'},
    {"requests", required_argument, NULL, 'r'},    {"connections", required_argument, NULL, 'c'},
    {"streams", required_argument, NULL, 'm'},     {"seconds", required_argument, NULL, 's'},
    {"warm-up", required_argument, NULL, 'w'},     {"rate", required_argument, NULL, 'R'},
    {"expected", required_argument, NULL, 'e'},    {"out", required_argument, NULL, 'o'},
    {"first-number", required_argument, NULL, 'n'}, {0},
};

static options read_options(int count, char **words) {
  options given = {.connections = 1, .streams = 1, .seconds = 1, .expected = ""};
  int option;
  while ((option = getopt_long(count, words, "", KNOWN, NULL)) != -1) {
    switch (option) {
      case 't':
        if (given.targets_count == TARGETS_MAX) fail("at most %d targets", TARGETS_MAX);
        given.targets[given.targets_count++] = optarg;
        break;
      case 'h': read_constants(&given, optarg); break;
      case 'r': read_requests(&given, optarg); break;
      case 'c': given.connections = atoi(optarg); break;
      case 'm': given.streams = atoi(optarg); break;
      case 's': given.seconds = atof(optarg); break;
      case 'w': given.warm_up = atof(optarg); break;
      case 'R': given.rate = atof(optarg); break;
      case 'e': given.expected = optarg; break;
      case 'o': given.out = optarg; break;
      case 'n': given.first_number = strtoull(optarg, NULL, 10); break;
      default: exit(2);
    }
  }
  if (given.targets_count == 0 || given.constants_count == 0 || given.requests_count == 0)
    fail("--target, --headers and --requests are needed");
  if (given.connections < 1 || given.streams < 1) fail("--connections and --streams are at least 1");
  return given;
}

int main(int count, char **words) {
  hpack_prepare();
  const char *mode = count > 1 ? words[1] : "";
  int watches = strcmp(mode, "watch") == 0;
  if (!watches && strcmp(mode, "load") != 0) fail("load or watch?");
  options given = read_options(count - 1, words + 1);
  return watches ? run_watch(&given) : run_load(&given);
}
