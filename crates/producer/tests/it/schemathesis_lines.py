"""JSON lines, which the document describes as an array of what the lines hold."""

import json

import schemathesis

LINES = "application/x-ndjson"


@schemathesis.serializer(LINES)
def to_lines(context, value):
    items = value if isinstance(value, list) else [value]
    return "".join(json.dumps(item) + "\n" for item in items).encode()


@schemathesis.deserializer(LINES)
def of_lines(context, response):
    return [json.loads(line) for line in response.content.splitlines()]
