/* What the parts of the minimal C client share. See README.md. */
#ifndef BENCH_H
#define BENCH_H

#include <amqp.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE "bench"
#define CHANNEL 1

/* What is to be done, from the arguments. */
struct order {
    const char *url;
    size_t count;
    size_t bytes;
    size_t window;
};

/* link.c: connections. Whatever fails ends the program with what and why. */
amqp_connection_state_t link_open(const struct order *order);
void link_close(amqp_connection_state_t link);
void die(const char *what, const char *why);
void *allocate(size_t count, size_t size);

/* publish.c: messages and the confirms that are still to come. */
struct publisher {
    amqp_connection_state_t link;
    unsigned char *is_confirmed; /* by delivery tag, from 1 */
    uint64_t oldest;             /* the lowest tag without its confirm */
    uint64_t sent;
    size_t unconfirmed;
};
struct publisher publisher_open(const struct order *order);
void publisher_close(struct publisher *publisher);
void publisher_send(struct publisher *publisher, const void *payload, size_t bytes);
/* Waits for confirms until at most this many are to come. */
void publisher_wait(struct publisher *publisher, size_t unconfirmed);
void publish(const struct order *order);
void publish_one(const struct order *order);

/* consume.c: deliveries and their acknowledgement. */
amqp_connection_state_t consumer_open(const struct order *order);
/* Takes `count` messages, one acknowledgement for `every` of them. */
void consumer_run(amqp_connection_state_t link, size_t count, size_t every);
void consume(const struct order *order, size_t every);

/* both.c: publishing and consuming at once. */
void both(const struct order *order);
void queue_time(const struct order *order);

/* spawn.c: programs, started and waited for. */
void spawn(const struct order *order);

/* watch.c: what it took. */
void watch_start(void);
void watch_stop(void);
/* Prints the figures, with the latencies (nanoseconds) where there are any. */
void watch_print(size_t tasks, int64_t *latencies, size_t count);
int64_t now_ns(void);

#endif
