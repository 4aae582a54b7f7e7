// HPACK (RFC 7541): reading header blocks, and writing the ones that a load generator repeats.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HPACK_TABLE_BYTES 4096  // the default of both sides; neither is asked for another

typedef struct {
  char *name, *value;
  size_t name_length, value_length;
} header;

typedef struct {
  header entries[HPACK_TABLE_BYTES / 32];
  size_t newest, count, bytes, bytes_max;  // a ring: the newest entry has the lowest index
} hpack_table;

typedef void hpack_heard(void *context, const header *found);

// Makes the tree of the Huffman code; once, before anything is decoded.
void hpack_prepare(void);

void hpack_init(hpack_table *table);

// Tells every header of a block; name and value end with a zero. 0, or -1 when it can't be decoded (then the connection is lost).
int hpack_decode(hpack_table *table, const uint8_t *block, size_t length, hpack_heard *heard, void *context);

// Writes a header. The caller has room for name, value and 12 bytes. Returns the end.
uint8_t *hpack_write_literal(uint8_t *to, const char *name, const char *value, size_t value_length, int remember);

// Writes a header that was remembered: its place counted from the first remembered one, of so many.
uint8_t *hpack_write_remembered(uint8_t *to, size_t place, size_t count);
