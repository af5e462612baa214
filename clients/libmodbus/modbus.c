// The driver for libmodbus. Its command line and its lines are described in clients/README.md.

#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BITS = 10, ORDERS = 4, BLOCK = 100, REGISTERS = ORDERS * BLOCK };

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
  exit(1);
}

// The lowest `count` words of a number, in one of the orders ABCD, CDAB, BADC, DCBA.
static uint16_t *put(uint16_t *at, uint64_t value, int count, int order) {
  for (int i = 0; i < count; i++) {
    int from_low = (order == 1 || order == 3) ? i : count - 1 - i;
    uint16_t word = (uint16_t)(value >> 16 * from_low);
    at[i] = (order >= 2) ? (uint16_t)(word << 8 | word >> 8) : word;
  }
  return at + count;
}

static void fill(uint16_t *block, int order) {
  const float pressure = 1013.25F;
  const double e = 2.718281828459045;
  uint32_t single;
  uint64_t bits;
  memcpy(&single, &pressure, sizeof single);
  memcpy(&bits, &e, sizeof bits);
  uint16_t *at = put(block, (uint64_t)-1234, 1, order);
  at = put(at, 54321, 1, order);
  at = put(at, (uint64_t)-123456789, 2, order);
  at = put(at, 3123456789, 2, order);
  at = put(at, (uint64_t)-1234567890123, 4, order);
  at = put(at, 1234567890123456, 4, order);
  put(at, single, 2, order);
  // Of the library's functions for floats only this one, which is CDAB, is right in 3.1.6: those with letters in
  // their names swap the bytes of each register on a little-endian machine.
  if (order == 1) modbus_set_float(pressure, at);
  put(at + 2, bits, 4, order);
}

static int serve(void) {
  modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
  modbus_mapping_t *memory = modbus_mapping_new(BITS, BITS, REGISTERS, REGISTERS);
  if (context == NULL || memory == NULL) fail("memory");
  for (int i = 0; i < BITS; i++) {
    memory->tab_bits[i] = i % 3 == 0;
    memory->tab_input_bits[i] = i % 3 == 1;
  }
  for (int order = 0; order < ORDERS; order++) {
    fill(memory->tab_registers + order * BLOCK, order);
    fill(memory->tab_input_registers + order * BLOCK, order);
  }
  int listener = modbus_tcp_listen(context, 1);
  if (listener < 0) fail("listen");
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) fail("address");
  printf("listening %d\n", ntohs(address.sin_port));
  fflush(stdout);
  // One client after the other is what it does.
  while (modbus_tcp_accept(context, &listener) >= 0) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
      int received = modbus_receive(context, query);
      if (received < 0) break;
      if (received > 0) modbus_reply(context, query, received, memory);
    }
    modbus_close(context);
  }
  fail("accept");
  return 1;
}

static void say_words(const uint16_t *words, int count) {
  printf("words");
  for (int i = 0; i < count; i++) printf(" %u", words[i]);
  printf("\n");
}

static void say_bits(const uint8_t *bits, int count) {
  printf("bits");
  for (int i = 0; i < count; i++) printf(" %u", bits[i]);
  printf("\n");
}

// What the library can make of registers: floats by functions, integers by macros.
static void say_value(const char *type, const uint16_t *words) {
  const uint16_t swapped[] = {words[1], words[0]};
  if (strcmp(type, "f32") == 0) printf("value %.9g\n", modbus_get_float(swapped));
  else if (strcmp(type, "u32") == 0) printf("value %" PRIu32 "\n", (uint32_t)MODBUS_GET_INT32_FROM_INT16(words, 0));
  else if (strcmp(type, "u64") == 0) printf("value %" PRIu64 "\n", (uint64_t)MODBUS_GET_INT64_FROM_INT16(words, 0));
  else printf("value %u\n", words[0]);
}

static void ask(modbus_t *context, const char *request) {
  char kind[16];
  int start, count = 0;
  int fields = sscanf(request, "%15[^:]:%d:%d", kind, &start, &count);
  if (fields < 2) fail(request);
  if (fields == 2) count = strcmp(kind, "u16") == 0 ? 1 : strcmp(kind, "u64") == 0 ? 4 : 2;
  uint16_t words[MODBUS_MAX_READ_REGISTERS] = {0};
  uint8_t bits[MODBUS_MAX_READ_BITS];
  int done;
  if (strcmp(kind, "write") == 0) done = modbus_write_register(context, start, (uint16_t)count);
  else if (strcmp(kind, "coil") == 0) done = modbus_read_bits(context, start, count, bits);
  else if (strcmp(kind, "discrete") == 0) done = modbus_read_input_bits(context, start, count, bits);
  else if (strcmp(kind, "holding") == 0) done = modbus_read_registers(context, start, count, words);
  else done = modbus_read_input_registers(context, start, count, words);
  if (done < 0 && errno > MODBUS_ENOBASE && errno < EMBBADCRC) printf("exception %d\n", errno - MODBUS_ENOBASE);
  else if (done < 0) fail(request);
  else if (strcmp(kind, "write") == 0) printf("written\n");
  else if (strcmp(kind, "coil") == 0 || strcmp(kind, "discrete") == 0) say_bits(bits, count);
  else if (fields == 2) say_value(kind, words);
  else say_words(words, count);
  fflush(stdout);
}

static int ask_all(int port, int unit, char **requests) {
  modbus_t *context = modbus_new_tcp("127.0.0.1", port);
  if (context == NULL || modbus_set_slave(context, unit) != 0) fail("context");
  modbus_set_response_timeout(context, 30, 0);
  if (modbus_connect(context) != 0) fail("connect");
  for (; *requests != NULL; requests++) ask(context, *requests);
  modbus_close(context);
  modbus_free(context);
  return 0;
}

int main(int argc, char **argv) {
  int port = 0, unit = 1, option = 2;
  for (; option + 1 < argc && strncmp(argv[option], "--", 2) == 0; option += 2) {
    if (strcmp(argv[option], "--port") == 0) port = atoi(argv[option + 1]);
    else if (strcmp(argv[option], "--unit") == 0) unit = atoi(argv[option + 1]);
    else break;
  }
  if (argc > 1 && strcmp(argv[1], "serve") == 0) return serve();
  if (argc > 1 && strcmp(argv[1], "read") == 0) return ask_all(port, unit, argv + option);
  fprintf(stderr, "usage: %s serve | read --port PORT --unit UNIT REQUEST...\n", argv[0]);
  return 64;
}
