/* The minimal C client that Pumasi is measured against: WORK URL COUNT BYTES WINDOW. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        die(text, "expected a number");
    return (size_t)value;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        die("usage", "WORK URL COUNT BYTES WINDOW");
    const char *work = argv[1];
    struct order order = {
        .url = argv[2],
        .count = number(argv[3]),
        .bytes = number(argv[4]),
        .window = number(argv[5]),
    };
    if (order.count == 0 || order.window == 0)
        die("COUNT and WINDOW", "expected at least 1");
    if (strcmp(work, "publish") == 0)
        publish(&order);
    else if (strcmp(work, "publish-one") == 0)
        publish_one(&order);
    else if (strcmp(work, "consume") == 0)
        consume(&order, 1);
    else if (strcmp(work, "consume-multiple") == 0)
        consume(&order, order.window > 1 ? order.window / 2 : 1);
    else if (strcmp(work, "both") == 0)
        both(&order);
    else if (strcmp(work, "queue-time") == 0)
        queue_time(&order);
    else if (strcmp(work, "spawn") == 0)
        spawn(&order);
    else
        die(work, "no such work");
    return 0;
}
