/* Publishing on one connection and consuming on another, at once. */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PER_SECOND 200
#define SECOND_NS INT64_C(1000000000)

struct side {
    const struct order *order;
    amqp_connection_state_t link;
    int64_t *latencies; /* by order of arrival; NULL where nobody asks */
};

static void *consumer(void *argument)
{
    struct side *side = argument;
    consumer_run(side->link, side->order->count, 1);
    link_close(side->link);
    return NULL;
}

static pthread_t start(void *(*run)(void *), struct side *side)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, side) != 0)
        die("pthread_create", "no thread");
    return thread;
}

void both(const struct order *order)
{
    struct side side = {.order = order, .link = consumer_open(order)};
    struct publisher publisher = publisher_open(order);
    char *payload = allocate(order->bytes + 1, 1);
    memset(payload, 'x', order->bytes);
    watch_start();
    pthread_t thread = start(consumer, &side);
    for (size_t sent = 0; sent < order->count; sent++) {
        publisher_wait(&publisher, order->window - 1);
        publisher_send(&publisher, payload, order->bytes);
    }
    publisher_wait(&publisher, 0);
    pthread_join(thread, NULL);
    watch_stop();
    publisher_close(&publisher);
    free(payload);
    watch_print(order->count, NULL, 0);
}

/* Notes for each message how long ago its payload says that it was sent. */
static void *timed_consumer(void *argument)
{
    struct side *side = argument;
    amqp_basic_consume(side->link, CHANNEL, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0,
                       amqp_empty_table);
    for (size_t taken = 0; taken < side->order->count; taken++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(side->link);
        amqp_rpc_reply_t reply = amqp_consume_message(side->link, &envelope, NULL, 0);
        int64_t sent;
        if (reply.reply_type != AMQP_RESPONSE_NORMAL || envelope.message.body.len < sizeof sent)
            die("consume", "no message of ours");
        memcpy(&sent, envelope.message.body.bytes, sizeof sent);
        side->latencies[taken] = now_ns() - sent;
        amqp_basic_ack(side->link, CHANNEL, envelope.delivery_tag, 0);
        amqp_destroy_envelope(&envelope);
    }
    link_close(side->link);
    return NULL;
}

void queue_time(const struct order *order)
{
    struct side side = {
        .order = order,
        .link = consumer_open(order),
        .latencies = allocate(order->count, sizeof *side.latencies),
    };
    struct publisher publisher = publisher_open(order);
    size_t bytes = order->bytes < sizeof(int64_t) ? sizeof(int64_t) : order->bytes;
    char *payload = allocate(bytes, 1);
    memset(payload, 'x', bytes);
    watch_start();
    pthread_t thread = start(timed_consumer, &side);
    int64_t due = now_ns();
    for (size_t sent = 0; sent < order->count; sent++) {
        struct timespec until = {.tv_sec = due / SECOND_NS, .tv_nsec = due % SECOND_NS};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int64_t now = now_ns();
        memcpy(payload, &now, sizeof now);
        /* Not held up by a late confirm: the rate is fixed. */
        publisher_wait(&publisher, order->window - 1);
        publisher_send(&publisher, payload, bytes);
        due += SECOND_NS / PER_SECOND;
    }
    publisher_wait(&publisher, 0);
    pthread_join(thread, NULL);
    watch_stop();
    publisher_close(&publisher);
    watch_print(order->count, side.latencies, order->count);
    free(side.latencies);
    free(payload);
}
