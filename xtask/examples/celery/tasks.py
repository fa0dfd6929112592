"""A worker on Celery with its defaults, for `cargo xtask faults --compare`.

It notes in the ledger what the harness's own handlers note.
"""

import json
import os
import sys
import time

from celery import Celery
from celery.signals import worker_ready

LEDGER = os.open(os.environ["FAULTS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

app = Celery("tasks", broker=os.environ["FAULTS_URL"])
app.conf.task_default_queue = os.environ["FAULTS_QUEUE"]


def note(event, **what):
    """Writes one line with one call, so that lines of many processes do not mix."""
    at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    os.write(LEDGER, (json.dumps({"at": at, "event": event, **what}) + "\n").encode())


@app.task(bind=True)
def work(self, ms):
    """Works for a while."""
    task = self.request.id
    run = f"{os.getpid()}-{time.clock_gettime_ns(time.CLOCK_BOOTTIME)}"
    worker = os.environ["FAULTS_WORKER"]
    note("start", id=task, attempt=1, worker=worker, run=run)
    time.sleep(ms / 1000)
    note("effect", id=task, run=run)
    note("end", id=task, run=run, outcome="done")


@worker_ready.connect
def ready(**_):
    """The harness waits for these words."""
    print("worker started", file=sys.stderr, flush=True)
