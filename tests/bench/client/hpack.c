#include "hpack.h"

#include <stdlib.h>
#include <string.h>

#include "hpack_tables.h"

#define END_OF_STRING 256
#define VALUE_MAX 16384
#define RING (HPACK_TABLE_BYTES / 32)

// --- the Huffman code, as a tree: a child is another node, or a leaf (its symbol, negative, less one) ---

static int16_t tree[512][2];
static int16_t nodes;

void hpack_prepare(void) {
  nodes = 1;
  for (int symbol = 0; symbol <= END_OF_STRING; symbol++) {
    int16_t node = 0;
    for (int bit = HUFFMAN[symbol].bits - 1; bit >= 0; bit--) {
      int16_t *child = &tree[node][(HUFFMAN[symbol].code >> bit) & 1];
      if (bit == 0) {
        *child = (int16_t)(-symbol - 1);
      } else {
        if (*child == 0) *child = nodes++;
        node = *child;
      }
    }
  }
}

static ptrdiff_t huffman_decode(char *to, const uint8_t *from, size_t length) {
  size_t written = 0;
  int16_t node = 0;
  for (size_t i = 0; i < length; i++) {
    for (int bit = 7; bit >= 0; bit--) {
      node = tree[node][(from[i] >> bit) & 1];
      if (node >= 0) continue;
      int symbol = -node - 1;
      if (symbol == END_OF_STRING || written == VALUE_MAX) return -1;
      to[written++] = (char)symbol;
      node = 0;
    }
  }
  return (ptrdiff_t)written;  // what is left are the ones of the padding
}

// --- the table ---

void hpack_init(hpack_table *table) {
  memset(table, 0, sizeof *table);
  table->bytes_max = HPACK_TABLE_BYTES;
}

static size_t weight(const header *entry) { return entry->name_length + entry->value_length + 32; }

static void shrink(hpack_table *table, size_t bytes) {
  while (table->bytes > bytes) {
    header *oldest = &table->entries[(table->newest + table->count - 1) % RING];
    table->bytes -= weight(oldest);
    free(oldest->name);
    free(oldest->value);
    table->count--;
  }
}

static char *copy(const char *text, size_t length) {
  char *made = malloc(length + 1);
  if (made == NULL) abort();
  memcpy(made, text, length);
  made[length] = 0;
  return made;
}

static void add(hpack_table *table, const header *found) {
  if (weight(found) > table->bytes_max) {
    shrink(table, 0);
    return;
  }
  // Copied before room is made: the name may be that of an entry which has to go.
  header kept = *found;
  kept.name = copy(found->name, found->name_length);
  kept.value = copy(found->value, found->value_length);
  shrink(table, table->bytes_max - weight(found));
  table->newest = (table->newest + RING - 1) % RING;
  table->entries[table->newest] = kept;
  table->count++;
  table->bytes += weight(&kept);
}

static int find(const hpack_table *table, size_t index, header *found) {
  if (index >= 1 && index <= STATIC_ENTRIES) {
    found->name = (char *)STATIC_TABLE[index - 1].name;
    found->value = (char *)STATIC_TABLE[index - 1].value;
    found->name_length = strlen(found->name);
    found->value_length = strlen(found->value);
    return 0;
  }
  if (index <= STATIC_ENTRIES || index - STATIC_ENTRIES > table->count) return -1;
  *found = table->entries[(table->newest + index - STATIC_ENTRIES - 1) % RING];
  return 0;
}

// --- reading ---

typedef struct {
  const uint8_t *at, *end;
} reader;

static int read_integer(reader *in, int prefix, size_t *value) {
  if (in->at == in->end) return -1;
  size_t most = (1u << prefix) - 1;
  *value = *in->at++ & most;
  if (*value < most) return 0;
  for (int shift = 0; shift <= 21; shift += 7) {
    if (in->at == in->end) return -1;
    uint8_t byte = *in->at++;
    *value += (size_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return 0;
  }
  return -1;
}

static int read_text(reader *in, char *to, size_t *length) {
  if (in->at == in->end) return -1;
  int huffman = *in->at & 0x80;
  size_t bytes;
  if (read_integer(in, 7, &bytes) || bytes > (size_t)(in->end - in->at) || bytes > VALUE_MAX) return -1;
  if (huffman) {
    ptrdiff_t decoded = huffman_decode(to, in->at, bytes);
    if (decoded < 0) return -1;
    *length = (size_t)decoded;
  } else {
    memcpy(to, in->at, bytes);
    *length = bytes;
  }
  to[*length] = 0;
  in->at += bytes;
  return 0;
}

static int read_literal(hpack_table *table, reader *in, int prefix, header *found) {
  static char name[VALUE_MAX + 1], value[VALUE_MAX + 1];
  size_t index;
  if (read_integer(in, prefix, &index)) return -1;
  if (index != 0) {
    if (find(table, index, found)) return -1;
  } else {
    if (read_text(in, name, &found->name_length)) return -1;
    found->name = name;
  }
  found->value = value;
  return read_text(in, value, &found->value_length);
}

int hpack_decode(hpack_table *table, const uint8_t *block, size_t length, hpack_heard *heard, void *context) {
  reader in = {block, block + length};
  while (in.at < in.end) {
    header found;
    size_t number;
    uint8_t first = *in.at;
    if (first & 0x80) {  // the whole header is in the table
      if (read_integer(&in, 7, &number) || find(table, number, &found)) return -1;
    } else if (first & 0x40) {  // a literal, to be remembered
      if (read_literal(table, &in, 6, &found)) return -1;
      heard(context, &found);
      add(table, &found);
      continue;
    } else if (first & 0x20) {  // a new size of the table
      if (read_integer(&in, 5, &number) || number > HPACK_TABLE_BYTES) return -1;
      table->bytes_max = number;
      shrink(table, number);
      continue;
    } else if (read_literal(table, &in, 4, &found)) {
      return -1;
    }
    heard(context, &found);
  }
  return 0;
}

// --- writing ---

static uint8_t *write_integer(uint8_t *to, int prefix, uint8_t flags, size_t value) {
  size_t most = (1u << prefix) - 1;
  if (value < most) {
    *to++ = (uint8_t)(flags | value);
    return to;
  }
  *to++ = (uint8_t)(flags | most);
  for (value -= most; value >= 0x80; value >>= 7) *to++ = (uint8_t)(value | 0x80);
  *to++ = (uint8_t)value;
  return to;
}

static uint8_t *write_text(uint8_t *to, const char *text, size_t length) {
  to = write_integer(to, 7, 0, length);
  memcpy(to, text, length);
  return to + length;
}

uint8_t *hpack_write_literal(uint8_t *to, const char *name, const char *value, size_t value_length, int remember) {
  *to++ = remember ? 0x40 : 0x00;
  to = write_text(to, name, strlen(name));
  return write_text(to, value, value_length);
}

uint8_t *hpack_write_remembered(uint8_t *to, size_t place, size_t count) {
  return write_integer(to, 7, 0x80, STATIC_ENTRIES + count - place);
}
