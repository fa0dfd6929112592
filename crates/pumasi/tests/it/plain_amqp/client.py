"""A plain AMQP client on pika: `publish QUEUE BODY` without properties, or `get QUEUE` as JSON."""

import json
import os
import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
if sys.argv[1] == "publish":
    channel.basic_publish(exchange="", routing_key=sys.argv[2], body=sys.argv[3].encode())
else:
    method, properties, body = channel.basic_get(sys.argv[2], auto_ack=True)
    told = {
        "body": body.decode(),
        "id": properties.message_id,
        "kind": properties.type,
        "content_type": properties.content_type,
        "delivery_mode": properties.delivery_mode,
        "timestamp": properties.timestamp,
        "priority": properties.priority,
        "expiration": properties.expiration,
        "app_id": properties.app_id,
        "headers": properties.headers,
    }
    print(json.dumps(told))
connection.close()
