// `watch`: one server stream a connection. Each message is written to a file with the moment it arrived:
// connection (uint32), nanoseconds since 1970 (uint64), length (uint32), bytes. Ends when it is told to (SIGTERM).
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loadgen.h"

#define MESSAGE_HEADER 5  // gRPC: compressed or not, and the length
#define TURN_NS 50000000

static volatile sig_atomic_t told_to_stop;
static FILE *out;
static buffer *parts;  // of a message that hasn't come whole, by connection
static uint64_t messages;
static int ended;
static char why[300];

static void stop(int signal) {
  (void)signal;
  told_to_stop = 1;
}

static void write_message(uint32_t number, uint64_t at, const uint8_t *bytes, uint32_t length) {
  if (fwrite(&number, sizeof number, 1, out) != 1 || fwrite(&at, sizeof at, 1, out) != 1 ||
      fwrite(&length, sizeof length, 1, out) != 1 || (length && fwrite(bytes, length, 1, out) != 1))
    fail("the file of messages can't be written: %s", strerror(errno));
  messages++;
}

static void on_headers(connection *at, int slot, const header *found) {
  (void)slot;
  int status = strcmp(found->name, ":status") == 0 && strcmp(found->value, "200") != 0;
  if (status || strcmp(found->name, "grpc-status") == 0 || strcmp(found->name, "grpc-message") == 0)
    snprintf(why + strlen(why), sizeof why - strlen(why), "%s %.60s; ", found->name, found->value);
  (void)at;
}

static void on_data(connection *at, int slot, const uint8_t *bytes, size_t length) {
  (void)slot;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t arrived = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  buffer *part = &parts[at->number];
  buffer_add(part, bytes, length);
  size_t done = 0;
  while (part->length - done >= MESSAGE_HEADER) {
    const uint8_t *head = part->bytes + done;
    uint32_t size = (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
    if (head[0] != 0) fail("a message is compressed");
    if (part->length - done < MESSAGE_HEADER + (size_t)size) break;
    write_message((uint32_t)at->number, arrived, head + MESSAGE_HEADER, size);
    done += MESSAGE_HEADER + size;
  }
  memmove(part->bytes, part->bytes + done, part->length - done);
  part->length -= done;
}

static void on_closed(connection *at, int slot, int reset) {
  (void)at;
  (void)slot;
  ended++;
  if (reset >= 0) snprintf(why + strlen(why), sizeof why - strlen(why), "reset %d; ", reset);
}

static const http2_events EVENTS = {on_headers, on_data, on_closed};

int run_watch(const options *given) {
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  out = given->out ? fopen(given->out, "wb") : NULL;
  if (out == NULL) fail("--out is needed, a file that can be written");
  parts = calloc((size_t)given->connections, sizeof *parts);
  if (parts == NULL) abort();
  connection *all = connect_all(given, &EVENTS);
  char *asked = calloc((size_t)given->connections, 1);
  uint64_t until = monotonic_ns() + (uint64_t)(given->seconds * 1e9);
  int lost = 0;
  while (!told_to_stop && lost == 0 && ended == 0 && monotonic_ns() < until) {
    for (int i = 0; i < given->connections; i++) {
      const request *wanted = &given->requests[(size_t)i % given->requests_count];
      int slot = asked[i] ? -1 : http2_free_slot(&all[i], wanted->body_length);
      if (slot < 0) continue;
      http2_request(&all[i], slot, given->constants, given->constants_count, wanted->path, wanted->body,
                    wanted->body_length);
      asked[i] = 1;
    }
    lost = turn(all, given->connections, TURN_NS);
    fflush(out);
  }
  for (int i = 0; i < given->connections; i++)
    if (all[i].lost) snprintf(why + strlen(why), sizeof why - strlen(why), "%.100s; ", all[i].why);
  fclose(out);
  printf("{\"messages\": %llu, \"ended\": %d, \"lost\": %d", (unsigned long long)messages, ended, lost);
  print_hex("why", why, strlen(why));
  printf("}\n");
  return 0;
}
