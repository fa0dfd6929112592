-- The store, version 1. Queues are never deleted and never changed in place.

CREATE TABLE clock (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    -- The last number given: deliveries (fencing tokens) and turns of consumers share it.
    last INTEGER NOT NULL
);
INSERT INTO clock (one, last) VALUES (1, 0);

CREATE TABLE queues (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,
    dead_letter    TEXT,
    length_max     INTEGER,
    bytes_max      INTEGER,
    delivery_limit INTEGER,
    -- Ready and held tasks together.
    length         INTEGER NOT NULL DEFAULT 0,
    bytes          INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE topics (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    topic    TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    PRIMARY KEY (topic, queue_id)
) WITHOUT ROWID;

-- AUTOINCREMENT: an id is never given twice, or a stalled worker could read another's tasks.
CREATE TABLE consumers (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    instance TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    name     TEXT NOT NULL,
    prefetch INTEGER NOT NULL,
    free     INTEGER NOT NULL,
    ticket   INTEGER NOT NULL,
    stopped  INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE tasks (
    seq            INTEGER PRIMARY KEY,
    queue_id       INTEGER NOT NULL,
    -- 0: ready.
    consumer       INTEGER NOT NULL DEFAULT 0,
    -- Names one handing-over for ever; 0 while ready.
    delivery       INTEGER NOT NULL DEFAULT 0,
    delivery_count INTEGER NOT NULL DEFAULT 0,
    redelivered    INTEGER NOT NULL DEFAULT 0,
    bytes          INTEGER NOT NULL,
    -- Reserved: not ready before this time.
    ready_at       INTEGER,
    id             TEXT NOT NULL,
    kind           TEXT,
    content_type   TEXT,
    priority       INTEGER,
    submitted_at   INTEGER,
    expires_ms     INTEGER,
    -- Milliseconds since 1970; counted from when it was stored.
    expires_at     INTEGER,
    submitter      TEXT,
    reply_to       TEXT,
    correlation_id TEXT,
    headers        TEXT,
    payload        BLOB NOT NULL
);

CREATE INDEX tasks_ready ON tasks (queue_id, seq) WHERE consumer = 0;
CREATE INDEX tasks_held ON tasks (consumer, delivery) WHERE consumer <> 0;
