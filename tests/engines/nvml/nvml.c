/* A stand-in for NVIDIA's management library: the symbols that relayd loads, with NVML's own
 * signatures and numbers, over a text file that says what there is. The file is read again on
 * every call, so that a test changes the world by writing it. Built with -DSTATE="\"path\"".
 *
 * Lines of the file are `key = value`; what is not said has the value of a healthy H100.
 *
 *   init = 9                   every call that opens the library answers this
 *   cards = 2                  how many there are
 *   driver, cuda               versions
 *   error.CALL = 3             every call of this name answers this
 *   hang.CALL = 60000          every call of this name takes so many ms, or until the line is gone
 *   card.N.error = 15          every call about this card answers this
 *   card.N.error.CALL = 3      this call about this card answers this
 *   card.N.VALUE = 55          name, uuid, pci, total, used, gpu, memory, celsius, power, limit,
 *                              sm, mem, throttle, corrected, uncorrected, fan, rx, tx, mig
 *   card.N.processes = 12:1024,13:2048    pid:bytes, computing; `drawing` likewise
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7

typedef int nvmlReturn_t;
typedef struct device *nvmlDevice_t;
typedef unsigned long long u64;

/* The value of a key, or 0 and nothing. */
static int said(const char *key, char *value, size_t size) {
  FILE *file = fopen(STATE, "r");
  char line[4096];
  size_t length = strlen(key);
  int found = 0;
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, key, length) || strncmp(line + length, " = ", 3)) continue;
    line[strcspn(line, "\n")] = 0;
    snprintf(value, size, "%s", line + length + 3);
    found = 1;
  }
  fclose(file);
  return found;
}

static u64 number(const char *key, u64 otherwise) {
  char value[64];
  return said(key, value, sizeof value) ? strtoull(value, NULL, 10) : otherwise;
}

/* Hangs while it is told to, and says so in a file beside the state. */
static void hang(const char *call) {
  char key[128];
  unsigned passed = 0;
  snprintf(key, sizeof key, "hang.%s", call);
  while (passed < number(key, 0)) {
    if (!passed) {
      FILE *file = fopen(STATE ".hangs", "w");
      if (file) fclose(file);
    }
    usleep(10000);
    passed += 10;
  }
  if (passed) remove(STATE ".hangs");
}

static nvmlReturn_t call(const char *name) {
  char key[128];
  hang(name);
  snprintf(key, sizeof key, "error.%s", name);
  return (nvmlReturn_t)number(key, OK);
}

static unsigned index_of(nvmlDevice_t device) { return (unsigned)((size_t)device - 1); }

static const char *key_of(nvmlDevice_t device, const char *what, const char *more, char *key) {
  snprintf(key, 128, "card.%u.%s%s", index_of(device), what, more);
  return key;
}

static nvmlReturn_t card_call(nvmlDevice_t device, const char *name) {
  char key[128];
  nvmlReturn_t answer = call(name);
  if (answer) return answer;
  answer = (nvmlReturn_t)number(key_of(device, "error.", name, key), OK);
  return answer ? answer : (nvmlReturn_t)number(key_of(device, "error", "", key), OK);
}

static u64 value_of(nvmlDevice_t device, const char *what, u64 otherwise) {
  char key[128];
  return number(key_of(device, what, "", key), otherwise);
}

static void text_of(nvmlDevice_t device, const char *what, const char *otherwise, char *out,
                    unsigned size) {
  char key[128];
  if (!said(key_of(device, what, "", key), out, size)) snprintf(out, size, "%s", otherwise);
}

nvmlReturn_t nvmlInit_v2(void) {
  nvmlReturn_t answer = call("nvmlInit_v2");
  return answer ? answer : (nvmlReturn_t)number("init", OK);
}
nvmlReturn_t nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
nvmlReturn_t nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(nvmlReturn_t answer) { return answer ? "an error" : "Success"; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned size) {
  if (!said("driver", out, size)) snprintf(out, size, "550.54.15");
  return call("nvmlSystemGetDriverVersion");
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
  *version = (int)number("cuda", 12040);
  return call("nvmlSystemGetCudaDriverVersion_v2");
}
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
  *count = (unsigned)number("cards", 1);
  return call("nvmlDeviceGetCount_v2");
}
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
  if (index >= number("cards", 1)) return INVALID_ARGUMENT;
  *device = (nvmlDevice_t)(size_t)(index + 1);
  return card_call(*device, "nvmlDeviceGetHandleByIndex_v2");
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned size) {
  text_of(device, "name", "NVIDIA H100 80GB HBM3", out, size);
  return card_call(device, "nvmlDeviceGetName");
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned size) {
  char own[64];
  snprintf(own, sizeof own, "GPU-%08x-0000-4000-8000-000000000000", index_of(device));
  text_of(device, "uuid", own, out, size);
  return card_call(device, "nvmlDeviceGetUUID");
}
struct pci {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char bus_id[32];
};
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, struct pci *pci) {
  char own[32];
  memset(pci, 0, sizeof *pci);
  snprintf(own, sizeof own, "00000000:%02X:00.0", 0x17 + index_of(device));
  text_of(device, "pci", own, pci->bus_id, sizeof pci->bus_id);
  return card_call(device, "nvmlDeviceGetPciInfo_v3");
}
struct memory {
  unsigned version;
  u64 total, reserved, unused, used;
};
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, struct memory *memory) {
  memory->total = value_of(device, "total", 80ull << 30);
  memory->used = value_of(device, "used", 12ull << 30);
  memory->reserved = 0;
  memory->unused = memory->total - memory->used;
  return card_call(device, "nvmlDeviceGetMemoryInfo_v2");
}
struct utilization {
  unsigned gpu, memory;
};
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, struct utilization *used) {
  used->gpu = (unsigned)value_of(device, "gpu", 37);
  used->memory = (unsigned)value_of(device, "memory", 11);
  return card_call(device, "nvmlDeviceGetUtilizationRates");
}

#define NUMBER(name, type, key, otherwise)                     \
  nvmlReturn_t name(nvmlDevice_t device, type *out) {          \
    *out = (type)value_of(device, key, otherwise);             \
    return card_call(device, #name);                           \
  }
NUMBER(nvmlDeviceGetPowerUsage, unsigned, "power", 212000)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, "limit", 700000)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, u64, "throttle", 0)

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *out) {
  (void)sensor;
  *out = (unsigned)value_of(device, "celsius", 55);
  return card_call(device, "nvmlDeviceGetTemperature");
}
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int which, unsigned *out) {
  /* 1 is the processors', 2 the memory's. */
  *out = (unsigned)(which == 2 ? value_of(device, "mem", 2619) : value_of(device, "sm", 1980));
  return card_call(device, "nvmlDeviceGetClockInfo");
}
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int kind, int counter, u64 *out) {
  (void)counter;
  *out = value_of(device, kind ? "uncorrected" : "corrected", 0);
  return card_call(device, "nvmlDeviceGetTotalEccErrors");
}
nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t device, unsigned fan, unsigned *out) {
  char key[128], value[16];
  (void)fan;
  nvmlReturn_t answer = card_call(device, "nvmlDeviceGetFanSpeed_v2");
  /* A card for servers has no fan unless the file gives it one. */
  if (!answer && !said(key_of(device, "fan", "", key), value, sizeof value)) return NOT_SUPPORTED;
  *out = (unsigned)value_of(device, "fan", 0);
  return answer;
}
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, int which, unsigned *out) {
  /* 0 is sent, 1 received. */
  *out = (unsigned)(which ? value_of(device, "rx", 3100) : value_of(device, "tx", 400));
  return card_call(device, "nvmlDeviceGetPcieThroughput");
}
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *now, unsigned *later) {
  *now = *later = (unsigned)value_of(device, "mig", 0);
  return card_call(device, "nvmlDeviceGetMigMode");
}

struct process {
  unsigned pid;
  u64 used;
  unsigned gpu_instance, compute_instance;
};
static nvmlReturn_t processes(nvmlDevice_t device, const char *which, unsigned *count,
                              struct process *out) {
  char key[128], list[4096], *next = list;
  unsigned room = *count, found = 0;
  if (!said(key_of(device, which, "", key), list, sizeof list)) list[0] = 0;
  while (*next) {
    struct process process = {0, 0, ~0u, ~0u};
    process.pid = (unsigned)strtoul(next, &next, 10);
    if (*next == ':') process.used = strtoull(next + 1, &next, 10);
    if (*next == ',') next++;
    if (out && found < room) out[found] = process;
    found++;
  }
  *count = found;
  return found > room ? INSUFFICIENT_SIZE : OK;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count,
                                                     struct process *out) {
  nvmlReturn_t answer = card_call(device, "nvmlDeviceGetComputeRunningProcesses_v3");
  return answer ? answer : processes(device, "processes", count, out);
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned *count,
                                                      struct process *out) {
  nvmlReturn_t answer = card_call(device, "nvmlDeviceGetGraphicsRunningProcesses_v3");
  return answer ? answer : processes(device, "drawing", count, out);
}
