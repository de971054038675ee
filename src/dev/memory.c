#include "memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The number behind `key` in a file of "key: number kB" lines, in bytes; -1: it is not there. */
static int64_t kilobytes(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    char line[256];
    long long found = -1;
    size_t length = strlen(key);
    while (file && found < 0 && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && sscanf(line + length, ": %lld kB", &found) != 1) found = -1;
    if (file) fclose(file);
    return found < 0 ? -1 : (int64_t)found * 1024;
}

/* A file that holds one number; -1: none, or "max". */
static int64_t number(const char *folder, const char *name) {
    char path[PATH_MAX];
    long long value = -1;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return -1;
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lld", &value) != 1) value = -1;
    if (file) fclose(file);
    return value;
}

/* The page cache of a group, which it gives back when it must. */
static int64_t page_cache(const char *folder) {
    char path[PATH_MAX], line[256];
    long long bytes = 0, value;
    if (snprintf(path, sizeof path, "%s/memory.stat", folder) >= (int)sizeof path) return 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "active_file %lld", &value) == 1 || sscanf(line, "inactive_file %lld", &value) == 1) bytes += value;
    if (file) fclose(file);
    return bytes;
}

static int64_t smaller(int64_t most, int64_t limit, int64_t used) {
    if (limit < 0 || used < 0) return most;
    int64_t left = limit > used ? limit - used : 0;
    return left < most ? left : most;
}

/* Every group from this process's up to the root may set a limit. root: where the hierarchy is mounted. */
static int64_t within_groups(int64_t most, const char *root, const char *group, const char *limit, const char *used) {
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s%s", root, group) >= (int)sizeof folder) return most;
    for (size_t shortest = strlen(root);;) {
        most = smaller(most, number(folder, limit), number(folder, used) - page_cache(folder));
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < shortest) return most;
        *slash = 0;
    }
}

/* Both versions of control groups: "0::/group" and "4:memory:/group". */
static int64_t within_control_groups(int64_t most) {
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[PATH_MAX];
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        if (!kind[1]) most = within_groups(most, "/sys/fs/cgroup", group, "memory.max", "memory.current");
        else if (!strcmp(kind + 1, "memory"))
            most = within_groups(most, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes");
    }
    if (file) fclose(file);
    return most;
}

int64_t kd_memory_available(void) {
    int64_t most = kilobytes("/proc/meminfo", "MemAvailable");
    if (most < 0) return 0;
    struct rlimit space;
    if (!getrlimit(RLIMIT_AS, &space) && space.rlim_cur < (rlim_t)INT64_MAX)
        most = smaller(most, (int64_t)space.rlim_cur, kilobytes("/proc/self/status", "VmSize"));
    return within_control_groups(most);
}

static int64_t at_least_0(int64_t bytes) { return bytes < 0 ? 0 : bytes; }

int64_t kd_memory_total(void) { return at_least_0(kilobytes("/proc/meminfo", "MemTotal")); }
int64_t kd_memory_resident(void) { return at_least_0(kilobytes("/proc/self/status", "VmRSS")); }
int64_t kd_memory_peak(void) { return at_least_0(kilobytes("/proc/self/status", "VmHWM")); }
