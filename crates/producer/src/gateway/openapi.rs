//! What the gateway serves, as an `OpenAPI` 3.1 document.
//!
//! Built from values here rather than derived from the handlers: half of what it says (answers,
//! headers, lines of a batch) is in no type. Tests hold it against the running gateway.

mod schemas;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use schemas::{NAME, components};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The document as it is served.
pub(super) async fn serve() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(document);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, TEXT.as_str()).into_response()
}

/// The document.
#[must_use]
pub fn document() -> String {
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pumasi gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Submits tasks. An answer of 202 is given only after the broker has \
                            confirmed the task.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": {
            "/v1/queues/{queue}/tasks": {"post": to_queue()},
            "/v1/topics/{topic}": {"post": to_topic()},
            "/v1/tasks": {"post": from_json()},
            "/v1/tasks/batch": {"post": batch()},
            "/v1/tasks/{id}": {"get": record()},
            "/v1/openapi.json": {"get": itself()},
        },
        "components": components(),
    });
    // Texts and numbers are always JSON.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn to_queue() -> Value {
    let mut parameters = vec![name("queue", "The queue.")];
    parameters.extend(query(&["delay", "at"]));
    parameters.push(idempotency_key());
    json!({
        "operationId": "submitToQueue",
        "summary": "Submit a task: any body is its payload",
        "security": security(),
        "parameters": parameters,
        "requestBody": any_body(),
        "responses": answers(accepted(), &["400", "401", "403", "404", "408", "413", "422", "429", "503"]),
    })
}

fn to_topic() -> Value {
    let mut parameters = vec![name("topic", "The topic.")];
    parameters.extend(query(&[]));
    parameters.push(idempotency_key());
    json!({
        "operationId": "publishToTopic",
        "summary": "Publish an event to every subscription: any body is its payload",
        "security": security(),
        "parameters": parameters,
        "requestBody": any_body(),
        "responses": answers(accepted(), &["400", "401", "403", "404", "408", "413", "422", "429", "503"]),
    })
}

fn from_json() -> Value {
    json!({
        "operationId": "submitTask",
        "summary": "Submit a task as JSON",
        "security": security(),
        "parameters": [idempotency_key()],
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}},
        },
        "responses": answers(
            accepted(),
            &["400", "401", "403", "404", "408", "413", "415", "422", "429", "503"],
        ),
    })
}

fn batch() -> Value {
    let outcomes = json!({
        "description": "An outcome per line, in their order",
        "content": {"application/x-ndjson": {"schema": lines_of("Outcome")}},
    });
    json!({
        "operationId": "submitBatch",
        "summary": "Submit tasks as JSON lines",
        "security": security(),
        "requestBody": {
            "required": true,
            "content": {"application/x-ndjson": {"schema": lines_of("Task")}},
        },
        "responses": answers(("200", outcomes), &["400", "401", "408", "415"]),
    })
}

/// JSON lines: 3.1 knows no sequences, and an array of what the lines hold is how they are written.
fn lines_of(schema: &str) -> Value {
    json!({
        "type": "array",
        "description": "Each line is one of the items, without the brackets and commas of an array.",
        "items": {"$ref": format!("#/components/schemas/{schema}")},
    })
}

fn record() -> Value {
    let id = json!({
        "name": "id",
        "in": "path",
        "required": true,
        "description": "The id of a task.",
        "schema": {"$ref": "#/components/schemas/Id"},
    });
    let none = problem("No records of tasks are kept");
    json!({
        "operationId": "showTask",
        "summary": "What became of a task",
        "security": security(),
        "parameters": [id],
        "responses": answers(("501", none), &["400", "401"]),
    })
}

fn itself() -> Value {
    json!({
        "operationId": "showDocument",
        "summary": "This document",
        "responses": {"200": {
            "description": "This document",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }},
    })
}

/// A key is needed where the gateway has keys.
fn security() -> Value {
    json!([{"key": []}, {}])
}

fn any_body() -> Value {
    json!({"required": false, "content": {"*/*": {"schema": {}}}})
}

fn accepted() -> (&'static str, Value) {
    let answer = json!({
        "description": "The broker has confirmed the task",
        "headers": {"Location": {
            "description": "Where the task is asked after",
            "required": true,
            "schema": {"type": "string"},
        }},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}},
    });
    ("202", answer)
}

/// The answers of an operation: a good one and problems by their status.
fn answers((status, good): (&str, Value), problems: &[&str]) -> Value {
    let mut answers = Map::new();
    answers.insert(status.to_owned(), good);
    for problem in problems {
        let answer = json!({"$ref": format!("#/components/responses/{problem}")});
        answers.insert((*problem).to_owned(), answer);
    }
    Value::Object(answers)
}

/// An answer that is a problem document.
fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": {"application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
        }},
    })
}

fn name(of: &str, description: &str) -> Value {
    json!({
        "name": of,
        "in": "path",
        "required": true,
        "description": description,
        "schema": {"type": "string", "pattern": NAME, "maxLength": 199},
    })
}

/// The query of a submit, with these keys besides those that every submit may have.
fn query(more: &[&str]) -> Vec<Value> {
    let schemas = schemas::keys();
    let keys = ["kind", "id", "expires", "timeout", "priority", "attempts"];
    let keys = keys.iter().chain(more);
    keys.map(
        |key| json!({"name": key, "in": "query", "required": false, "schema": schemas.get(*key)}),
    )
    .collect()
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "The id of the task, where the caller gives it one. Quotes around it are \
                        left out. Any other id in the request has to be the same.",
        "schema": {"type": "string"},
    })
}
