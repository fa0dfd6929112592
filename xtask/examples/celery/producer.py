"""A producer on Celery with its defaults, for `cargo xtask faults --compare`: `ORDERS` as JSON."""

import json
import os
import random
import sys
import time

orders = json.loads(sys.argv[1])
os.environ.update(
    FAULTS_LEDGER=orders["ledger"], FAULTS_URL=orders["url"], FAULTS_QUEUE=orders["queue"]
)

from tasks import note, work  # noqa: E402  (it reads the environment)


def first():
    """The first number that no earlier producer has used."""
    with open(orders["ledger"]) as ledger:
        lines = [json.loads(line) for line in ledger]
    return sum(line["event"] == "invoke" for line in lines)


number = first()
while number < orders["count"] or not os.path.exists(orders["stop"]):
    for number in range(number, number + orders["burst"]):
        task = f"t{number}"
        ms = random.Random(orders["seed"] + number).randint(0, orders["work_ms"])
        note("invoke", id=task)
        try:
            work.apply_async(args=[ms], task_id=task)
        except Exception as error:  # An error of any kind: the caller does not know more.
            print(error, file=sys.stderr)
            note("unknown", id=task)
        else:
            note("accepted", id=task)
    number += 1
    time.sleep(orders["pause_ms"] / 1000)
