/* Persistent messages, with confirms. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define PERSISTENT 2
#define FILLER 'x'

struct publisher publisher_open(const struct order *order)
{
    struct publisher publisher = {
        .link = link_open(order),
        .is_confirmed = allocate(order->count + 2, 1),
        .oldest = 1,
    };
    amqp_confirm_select(publisher.link, CHANNEL);
    if (amqp_get_rpc_reply(publisher.link).reply_type != AMQP_RESPONSE_NORMAL)
        die("confirm.select", "refused");
    return publisher;
}

void publisher_close(struct publisher *publisher)
{
    link_close(publisher->link);
    free(publisher->is_confirmed);
}

void publisher_send(struct publisher *publisher, const void *payload, size_t bytes)
{
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
        .delivery_mode = PERSISTENT,
    };
    amqp_bytes_t body = {.len = bytes, .bytes = (void *)payload};
    int status = amqp_basic_publish(publisher->link, CHANNEL, amqp_empty_bytes,
                                    amqp_cstring_bytes(QUEUE), 1, 0, &properties, body);
    if (status != AMQP_STATUS_OK)
        die("publish", amqp_error_string2(status));
    publisher->sent++;
    publisher->unconfirmed++;
}

static void confirm(struct publisher *publisher, uint64_t tag, int multiple)
{
    if (tag > publisher->sent)
        die("confirm", "of a message that was not sent");
    for (uint64_t each = multiple ? publisher->oldest : tag; each <= tag; each++) {
        if (!publisher->is_confirmed[each]) {
            publisher->is_confirmed[each] = 1;
            publisher->unconfirmed--;
        }
    }
    while (publisher->is_confirmed[publisher->oldest])
        publisher->oldest++;
}

void publisher_wait(struct publisher *publisher, size_t unconfirmed)
{
    while (publisher->unconfirmed > unconfirmed) {
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame(publisher->link, &frame);
        if (status != AMQP_STATUS_OK)
            die("confirm", amqp_error_string2(status));
        if (frame.frame_type != AMQP_FRAME_METHOD)
            continue;
        if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            die("confirm", "the broker returned or refused a message");
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        confirm(publisher, ack->delivery_tag, ack->multiple);
        amqp_maybe_release_buffers(publisher->link);
    }
}

void publish(const struct order *order)
{
    struct publisher publisher = publisher_open(order);
    char *payload = allocate(order->bytes + 1, 1);
    memset(payload, FILLER, order->bytes);
    watch_start();
    for (size_t sent = 0; sent < order->count; sent++) {
        publisher_wait(&publisher, order->window - 1);
        publisher_send(&publisher, payload, order->bytes);
    }
    publisher_wait(&publisher, 0);
    watch_stop();
    publisher_close(&publisher);
    free(payload);
    watch_print(order->count, NULL, 0);
}

void publish_one(const struct order *order)
{
    struct publisher publisher = publisher_open(order);
    int64_t *latencies = allocate(order->count, sizeof *latencies);
    char *payload = allocate(order->bytes + 1, 1);
    memset(payload, FILLER, order->bytes);
    watch_start();
    for (size_t sent = 0; sent < order->count; sent++) {
        int64_t begun = now_ns();
        publisher_send(&publisher, payload, order->bytes);
        publisher_wait(&publisher, 0);
        latencies[sent] = now_ns() - begun;
    }
    watch_stop();
    publisher_close(&publisher);
    watch_print(order->count, latencies, order->count);
    free(payload);
    free(latencies);
}
