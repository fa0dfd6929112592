/* A connection with one open channel. */
#include "bench.h"

#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX 131072

void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-c: %s: %s\n", what, why);
    exit(1);
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        die("allocate", "no memory");
    return memory;
}

static void check(const char *what, amqp_rpc_reply_t reply)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        die(what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        die(what, "the broker closed the channel or the connection");
}

amqp_connection_state_t link_open(const struct order *order)
{
    struct amqp_connection_info at;
    /* The parts of the URL stay in this text. */
    char *url = strdup(order->url);
    if (url == NULL || amqp_parse_url(url, &at) != AMQP_STATUS_OK)
        die(order->url, "expected amqp://USER:PASSWORD@HOST:PORT/VHOST");
    amqp_connection_state_t link = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(link);
    if (socket == NULL || amqp_socket_open(socket, at.host, at.port) != AMQP_STATUS_OK)
        die(order->url, "nobody listens");
    check("login", amqp_login(link, at.vhost, 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, at.user,
                              at.password));
    amqp_channel_open(link, CHANNEL);
    check("channel", amqp_get_rpc_reply(link));
    /* Passive: Pumasi has declared it, with its arguments. */
    amqp_queue_declare(link, CHANNEL, amqp_cstring_bytes(QUEUE), 1, 0, 0, 0, amqp_empty_table);
    check("queue " QUEUE, amqp_get_rpc_reply(link));
    free(url);
    return link;
}

void link_close(amqp_connection_state_t link)
{
    /* The answer says that everything sent before has been read. */
    check("close channel", amqp_channel_close(link, CHANNEL, AMQP_REPLY_SUCCESS));
    check("close", amqp_connection_close(link, AMQP_REPLY_SUCCESS));
    amqp_destroy_connection(link);
}
