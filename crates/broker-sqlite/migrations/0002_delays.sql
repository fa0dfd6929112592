-- The store, version 2: delays, priorities, ids that were accepted once, pauses, control.

-- A task's `consumer` is above 0 while it is held, 0 while it is ready, -1 while it is kept back
-- until `ready_at`, in milliseconds since 1970.
-- The place in the queue: 9 less the priority, 0 comes first.
ALTER TABLE tasks ADD COLUMN rank INTEGER NOT NULL DEFAULT 5;
UPDATE tasks SET rank = 9 - min(priority, 9) WHERE priority IS NOT NULL;

DROP INDEX tasks_ready;
DROP INDEX tasks_held;
-- Every index ends with the rowid, which is seq.
CREATE INDEX tasks_ready ON tasks (queue_id, rank) WHERE consumer = 0;
CREATE INDEX tasks_held ON tasks (consumer, delivery) WHERE consumer > 0;
CREATE INDEX tasks_delayed ON tasks (ready_at, queue_id) WHERE consumer = -1;

-- Queues with an id below 0 are for replies; they alone are ever deleted, and their ids come from
-- the clock, so that none is given twice.
ALTER TABLE queues ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;

-- Ids that a queue has accepted with `once`, until (milliseconds since 1970) they are forgotten.
CREATE TABLE accepted (
    queue_id INTEGER NOT NULL,
    id       TEXT NOT NULL,
    until    INTEGER NOT NULL,
    UNIQUE (queue_id, id)
);
CREATE INDEX accepted_until ON accepted (until);

-- What operators asked of workers: `cancel` a task, `drain` a worker.
-- AUTOINCREMENT: who has read up to a number misses nothing that comes later.
CREATE TABLE controls (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    what    TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Milliseconds since 1970.
    at_ms   INTEGER NOT NULL
);
