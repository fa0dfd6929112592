/* The time that the work took, and what it cost this process and the programs it waited for. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static struct {
    int64_t begun, took;
    double cpu;
    long switches;
} watch;

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_seconds(void)
{
    double seconds = 0;
    int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int each = 0; each < 2; each++) {
        struct rusage usage;
        getrusage(whose[each], &usage);
        seconds += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    return seconds;
}

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

void watch_start(void)
{
    watch.cpu = cpu_seconds();
    watch.switches = switches();
    watch.begun = now_ns();
}

void watch_stop(void)
{
    watch.took = now_ns() - watch.begun;
    watch.cpu = cpu_seconds() - watch.cpu;
    watch.switches = switches() - watch.switches;
}

static int by_size(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The value that this percentage of the sorted latencies do not exceed, in microseconds. */
static double within(const int64_t *sorted, size_t count, size_t percent)
{
    size_t place = (count * percent + 99) / 100;
    return (double)sorted[place > 0 ? place - 1 : 0] / 1e3;
}

void watch_print(size_t tasks, int64_t *latencies, size_t count)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"tasks\":%zu,\"seconds\":%.9f,\"cpu_seconds\":%.6f,\"switches\":%ld,"
           "\"peak_rss_kib\":%ld",
           tasks, (double)watch.took / 1e9, watch.cpu, watch.switches, usage.ru_maxrss);
    if (count > 0) {
        qsort(latencies, count, sizeof *latencies, by_size);
        printf(",\"latency\":{\"p50_us\":%.3f,\"p99_us\":%.3f}", within(latencies, count, 50),
               within(latencies, count, 99));
    }
    printf("}\n");
}
