//! The shapes of what is sent and answered.

use super::problem;
use serde_json::{Map, Value, json};

/// What a name is: of a queue, a topic or a kind.
pub(super) const NAME: &str = "^(?!amq\\.)[A-Za-z0-9][A-Za-z0-9._:-]{0,198}$";

pub(super) fn components() -> Value {
    json!({
        "securitySchemes": {"key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `gateway.keys_file`, where there is one.",
        }},
        "schemas": {
            "Id": id(),
            "Task": task(),
            "Accepted": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"$ref": "#/components/schemas/Id"}},
                "additionalProperties": false,
            },
            "Problem": problem_document(&[]),
            "Outcome": outcome(),
        },
        "responses": responses(),
    })
}

fn id() -> Value {
    json!({
        "type": "string",
        "description": "1 to 128 bytes without spaces and control characters.",
        "minLength": 1,
        "maxLength": 128,
        "pattern": "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$",
    })
}

/// What can be said about a task, in a query or in JSON, by its key.
pub(super) fn keys() -> Map<String, Value> {
    let lasting = |what: &str| {
        json!({
            "type": "string",
            "description": what,
            "examples": ["30s", "1h 30m"],
        })
    };
    let keys = json!({
        "kind": {
            "type": "string",
            "description": "Selects the handler.",
            "pattern": NAME,
            "maxLength": 199,
        },
        "id": id(),
        "delay": lasting("Keep it back for this time; 1 ms to 8.5 years. Not with `at`."),
        "at": {
            "type": "string",
            "format": "date-time",
            "description": "Keep it back until this time. Not with `delay`.",
        },
        "expires": lasting(
            "Do not start it any more after this time, counted from when it is ready; 1 ms to 49 days.",
        ),
        "timeout": lasting("The longest run of one attempt; 1 ms to 366 days."),
        "priority": {
            "type": "integer",
            "description": "Higher is sooner, where the broker has priorities.",
            "minimum": 0,
            "maximum": 9,
        },
        "attempts": {
            "type": "integer",
            "description": "Most attempts.",
            "minimum": 1,
            "maximum": 1_000_000,
        },
    });
    object(keys)
}

/// The properties of a value that is written as an object above.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(properties) => properties,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// A task as JSON: a line of `pumasi submit --file` that names its queue.
fn task() -> Value {
    let mut properties = keys();
    let own = json!({
        "queue": {"type": "string", "pattern": NAME, "maxLength": 199},
        "payload": {"description": "Any JSON: the payload is its text."},
        "text": {"type": "string", "description": "The payload as a text."},
        "base64": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "The payload as bytes, in the standard alphabet.",
        },
        "content_type": {
            "type": "string",
            "maxLength": 255,
            "description": "The media type of the payload. Default: `application/json` for \
                            `payload`, `text/plain` for `text`, none for `base64`.",
        },
        "headers": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"minLength": 1, "maxLength": 128, "pattern": "^(?!pumasi-|x-)"},
        },
    });
    properties.extend(object(own));
    json!({
        "type": "object",
        "required": ["queue"],
        "oneOf": [
            {"required": ["payload"]},
            {"required": ["text"]},
            {"required": ["base64"]},
        ],
        "properties": properties,
        "additionalProperties": false,
    })
}

/// A problem (RFC 9457), with these properties besides.
fn problem_document(more: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    for (name, schema) in more {
        properties.insert((*name).to_owned(), schema.clone());
    }
    let own = json!({
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "title": {"type": "string", "description": "What is wrong."},
        "detail": {"type": "string", "description": "What to do."},
        "code": {
            "type": "string",
            "pattern": "^PU[0-9]{4}$",
            "description": "A page of docs/errors says what it means.",
        },
        "id": {"$ref": "#/components/schemas/Id"},
    });
    properties.extend(object(own));
    let mut required: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
    required.extend(["status", "title"]);
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// What became of a line of a batch.
fn outcome() -> Value {
    let line = json!({"type": "integer", "minimum": 1});
    let not = [
        ("line", line.clone()),
        ("outcome", json!({"enum": ["refused", "unknown"]})),
    ];
    json!({"oneOf": [
        {
            "type": "object",
            "required": ["line", "outcome", "id"],
            "properties": {
                "line": line,
                "outcome": {"const": "accepted"},
                "id": {"$ref": "#/components/schemas/Id"},
            },
            "additionalProperties": false,
        },
        problem_document(&not),
    ]})
}

/// The problems that several operations answer with, by their status.
fn responses() -> Value {
    let mut responses = Map::new();
    for (status, description) in [
        ("400", "The request is not valid"),
        ("401", "A key is needed, or it is not known"),
        ("403", "The key does not allow this"),
        ("404", "The queue or topic does not exist"),
        ("408", "The body did not arrive in time"),
        ("413", "The body is larger than is taken"),
        ("415", "The body is of another media type, or compressed"),
        ("422", "The task cannot be carried"),
        ("429", "The key has used up its rate"),
        (
            "503",
            "The broker is away, blocked or slow, the queue is full, or there is no room",
        ),
    ] {
        let mut answer = problem(description);
        let header = match status {
            "401" => Some(("WWW-Authenticate", json!({"type": "string"}))),
            "429" | "503" => Some(("Retry-After", json!({"type": "integer"}))),
            _ => None,
        };
        if let (Some((name, schema)), Some(answer)) = (header, answer.as_object_mut()) {
            let headers = json!({name: {"required": true, "schema": schema}});
            answer.insert("headers".to_owned(), headers);
        }
        responses.insert(status.to_owned(), answer);
    }
    Value::Object(responses)
}
