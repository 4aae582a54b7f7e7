// `load`: requests as fast as they are answered (so many at once), or at a rate. Every answer is counted by its outcome.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loadgen.h"

#define OUTCOMES_MAX 64
#define SAMPLE_MAX 2048
#define SECONDS_MAX 3600
#define LAST_ANSWERS_NS 10000000000u  // how long the last answers are waited for

typedef struct {
  uint64_t due;  // when it was sent; at a rate: when it should have been
  int status, is_grpc, grpc;
  char message[256];
  uint8_t body[SAMPLE_MAX];
  size_t body_length;
} call;

typedef struct {
  char name[24];
  uint64_t count;
} outcome;

typedef struct {
  int taken;
  char outcome[24], message[256];
  uint8_t body[SAMPLE_MAX];
  size_t body_length;
} sample;

static struct {
  const options *given;
  connection *connections;
  call *calls;  // by connection and slot
  uint64_t now, begin, measure_from, measure_until;
  uint64_t sent, answered, unanswered;
  outcome outcomes[OUTCOMES_MAX];
  int outcomes_count;
  uint32_t *latencies_us;
  size_t measured, room;
  uint64_t by_second[SECONDS_MAX];
  sample good, bad;
} run;

static call *call_of(const connection *at, int slot) { return &run.calls[at->number * run.given->streams + slot]; }

static void count_outcome(const char *name) {
  for (int i = 0; i < run.outcomes_count; i++) {
    if (strcmp(run.outcomes[i].name, name) == 0) {
      run.outcomes[i].count++;
      return;
    }
  }
  if (run.outcomes_count == OUTCOMES_MAX) fail("more than %d kinds of answer", OUTCOMES_MAX);
  snprintf(run.outcomes[run.outcomes_count].name, sizeof run.outcomes[0].name, "%s", name);
  run.outcomes[run.outcomes_count++].count = 1;
}

static void keep(sample *to, const char *name, const call *of) {
  if (to->taken) return;
  to->taken = 1;
  snprintf(to->outcome, sizeof to->outcome, "%s", name);
  snprintf(to->message, sizeof to->message, "%s", of->message);
  memcpy(to->body, of->body, of->body_length);
  to->body_length = of->body_length;
}

static void measure(const call *of) {
  if (run.now < run.measure_from || run.now >= run.measure_until) return;
  if (run.measured == run.room) {
    run.room = run.room ? run.room * 2 : 65536;
    run.latencies_us = realloc(run.latencies_us, run.room * sizeof *run.latencies_us);
    if (run.latencies_us == NULL) abort();
  }
  run.latencies_us[run.measured++] = (uint32_t)((run.now - of->due) / 1000);
  run.by_second[(run.now - run.measure_from) / 1000000000u]++;
}

// --- what connections tell ---

static void on_headers(connection *at, int slot, const header *found) {
  call *of = call_of(at, slot);
  if (strcmp(found->name, ":status") == 0) of->status = atoi(found->value);
  if (strcmp(found->name, "content-type") == 0) of->is_grpc = strncmp(found->value, "application/grpc", 16) == 0;
  if (strcmp(found->name, "grpc-status") == 0) of->grpc = atoi(found->value);
  if (strcmp(found->name, "grpc-message") == 0)
    snprintf(of->message, sizeof of->message, "%.*s", (int)found->value_length, found->value);
}

static void on_data(connection *at, int slot, const uint8_t *bytes, size_t length) {
  call *of = call_of(at, slot);
  size_t room = SAMPLE_MAX - of->body_length, kept = length < room ? length : room;
  memcpy(of->body + of->body_length, bytes, kept);
  of->body_length += kept;
}

static void on_closed(connection *at, int slot, int reset) {
  call *of = call_of(at, slot);
  char name[24];
  if (reset >= 0)
    snprintf(name, sizeof name, "reset %d", reset);
  else if (of->is_grpc)  // a transcoded answer may have the trailer too
    snprintf(name, sizeof name, "grpc %d", of->grpc);
  else
    snprintf(name, sizeof name, "http %d", of->status);
  run.now = monotonic_ns();
  run.answered++;
  count_outcome(name);
  measure(of);
  keep(strcmp(name, run.given->expected) == 0 ? &run.good : &run.bad, name, of);
}

static const http2_events EVENTS = {on_headers, on_data, on_closed};

// --- sending ---

static int send_one(connection *at, uint64_t due) {
  request *next = &run.given->requests[run.sent % run.given->requests_count];
  int slot = http2_free_slot(at, next->body_length);
  if (slot < 0) return 0;
  if (next->counter_at >= 0) {
    char digits[COUNTER_DIGITS + 12];
    snprintf(digits, sizeof digits, "%0*llu", COUNTER_DIGITS, (unsigned long long)(run.given->first_number + run.sent));
    memcpy(next->body + next->counter_at, digits, COUNTER_DIGITS);
  }
  call *of = call_of(at, slot);
  of->due = due;
  of->status = of->grpc = -1;
  of->is_grpc = 0;
  of->message[0] = 0;
  of->body_length = 0;
  run.sent++;
  http2_request(at, slot, run.given->constants, run.given->constants_count, next->path, next->body, next->body_length);
  return 1;
}

static void send_all_free(void) {
  for (int i = 0; i < run.given->connections; i++)
    while (send_one(&run.connections[i], run.now)) continue;
}

// Sends what is due. A request that waits for a free stream keeps its due time, so waiting counts as latency.
static uint64_t send_due(void) {
  static int next_connection;
  double gap = 1e9 / run.given->rate;
  for (;;) {
    uint64_t due = run.begin + (uint64_t)((double)run.sent * gap);
    if (due > run.now) return due;
    int tried = 0;
    while (tried < run.given->connections &&
           !send_one(&run.connections[next_connection++ % run.given->connections], due))
      tried++;
    if (tried == run.given->connections) return run.now + 1000000;
  }
}

// Connects and waits for the servers' settings, so that the clock starts with the first request.
static void get_ready(void) {
  uint64_t until = monotonic_ns() + LAST_ANSWERS_NS;
  for (int ready = 0; ready < run.given->connections;) {
    if (turn(run.connections, run.given->connections, 10000000) || monotonic_ns() > until)
      fail("%s: %s", run.given->targets[0], run.connections[0].lost ? run.connections[0].why : "no answer to HTTP/2");
    ready = 0;
    for (int i = 0; i < run.given->connections; i++) ready += run.connections[i].ready;
  }
}

static void drive(void) {
  uint64_t stop_waiting = run.measure_until + LAST_ANSWERS_NS;
  while (run.now < stop_waiting) {
    uint64_t wake = stop_waiting;
    if (run.now < run.measure_until) {
      wake = run.measure_until;
      if (run.given->rate > 0) {
        uint64_t due = send_due();
        wake = due < wake ? due : wake;
      } else {
        send_all_free();
      }
    } else if (run.answered == run.sent) {
      return;
    }
    uint64_t before = monotonic_ns();
    int lost = turn(run.connections, run.given->connections, wake > before ? wake - before : 0);
    run.now = monotonic_ns();
    if (lost == run.given->connections) return;
  }
}

// --- the report ---

static int by_size(const void *one, const void *other) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
  return (a > b) - (a < b);
}

static double percentile_ms(double share) {
  if (run.measured == 0) return 0;
  size_t at = (size_t)(share * (double)(run.measured - 1) + 0.5);
  return run.latencies_us[at] / 1000.0;
}

static void print_sample(const char *name, const sample *of) {
  if (!of->taken) return;
  printf(", \"%s\": {\"outcome\": \"%s\"", name, of->outcome);
  print_hex("message", of->message, strlen(of->message));
  print_hex("body", of->body, of->body_length);
  printf("}");
}

static void report(void) {
  double seconds = run.given->seconds;
  qsort(run.latencies_us, run.measured, sizeof *run.latencies_us, by_size);
  printf("{\"seconds\": %g, \"sent\": %llu, \"answered\": %llu, \"unanswered\": %llu, \"measured\": %zu, ", seconds,
         (unsigned long long)run.sent, (unsigned long long)run.answered, (unsigned long long)(run.sent - run.answered),
         run.measured);
  printf("\"per_second\": %.1f, \"outcomes\": {", (double)run.measured / seconds);
  for (int i = 0; i < run.outcomes_count; i++)
    printf("%s\"%s\": %llu", i ? ", " : "", run.outcomes[i].name, (unsigned long long)run.outcomes[i].count);
  printf("}, \"latency_ms\": {\"p50\": %.3f, \"p90\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}, ",
         percentile_ms(0.5), percentile_ms(0.9), percentile_ms(0.95), percentile_ms(0.99), percentile_ms(0.999), percentile_ms(1));
  printf("\"by_second\": [");
  for (int i = 0; i < (int)seconds; i++) printf("%s%llu", i ? ", " : "", (unsigned long long)run.by_second[i]);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  printf("], \"cpu_seconds\": %.3f", (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                                         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
  for (int i = 0; i < run.given->connections; i++) {
    if (!run.connections[i].lost) continue;
    print_hex("lost", run.connections[i].why, strlen(run.connections[i].why));
    break;
  }
  print_sample("good", &run.good);
  print_sample("bad", &run.bad);
  printf("}\n");
}

int run_load(const options *given) {
  if (given->seconds + 1 > SECONDS_MAX) fail("at most %d seconds", SECONDS_MAX - 1);
  run.given = given;
  run.connections = connect_all(given, &EVENTS);
  run.calls = calloc((size_t)(given->connections * given->streams), sizeof *run.calls);
  if (run.calls == NULL) abort();
  get_ready();
  run.now = run.begin = monotonic_ns();
  run.measure_from = run.begin + (uint64_t)(given->warm_up * 1e9);
  run.measure_until = run.measure_from + (uint64_t)(given->seconds * 1e9);
  drive();
  report();
  return 0;
}
