/* Deliveries, acknowledged one by one or many at once. */
#include "bench.h"

amqp_connection_state_t consumer_open(const struct order *order)
{
    amqp_connection_state_t link = link_open(order);
    if (order->window > UINT16_MAX)
        die("WINDOW", "expected at most 65535");
    amqp_basic_qos(link, CHANNEL, 0, (uint16_t)order->window, 0);
    if (amqp_get_rpc_reply(link).reply_type != AMQP_RESPONSE_NORMAL)
        die("basic.qos", "refused");
    return link;
}

void consumer_run(amqp_connection_state_t link, size_t count, size_t every)
{
    amqp_basic_consume(link, CHANNEL, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0,
                       amqp_empty_table);
    if (amqp_get_rpc_reply(link).reply_type != AMQP_RESPONSE_NORMAL)
        die("basic.consume", "refused");
    for (size_t taken = 1; taken <= count; taken++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(link);
        amqp_rpc_reply_t reply = amqp_consume_message(link, &envelope, NULL, 0);
        if (reply.reply_type != AMQP_RESPONSE_NORMAL)
            die("consume", "the broker ended it");
        if (taken % every == 0 || taken == count) {
            int status = amqp_basic_ack(link, CHANNEL, envelope.delivery_tag, every > 1);
            if (status != AMQP_STATUS_OK)
                die("ack", amqp_error_string2(status));
        }
        amqp_destroy_envelope(&envelope);
    }
}

void consume(const struct order *order, size_t every)
{
    amqp_connection_state_t link = consumer_open(order);
    watch_start();
    consumer_run(link, order->count, every);
    /* With the answer to the close the last acknowledgement has arrived. */
    link_close(link);
    watch_stop();
    watch_print(order->count, NULL, 0);
}
