/* A program per task and nothing else: the floor under an exec handler. */
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

void spawn(const struct order *order)
{
    char *arguments[] = {"true", NULL};
    size_t started = 0, running = 0;
    watch_start();
    while (started < order->count || running > 0) {
        if (started < order->count && running < order->window) {
            pid_t child;
            if (posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ) != 0)
                die("true", "cannot be started");
            started++;
            running++;
            continue;
        }
        int status;
        if (wait(&status) < 0 || status != 0)
            die("true", "failed");
        running--;
    }
    watch_stop();
    watch_print(order->count, NULL, 0);
}
