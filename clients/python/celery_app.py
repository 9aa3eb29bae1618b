"""The Celery application of celery_cases, imported by its worker too."""

import os
import time

from celery import Celery

from casebook import wait_for

QUEUE = os.environ.get("CELERY_QUEUE", "celery")

app = Celery("cases", broker=f"amqp://guest:guest@{os.environ['AMQP']}//", backend="rpc://")
app.conf.update(
    task_default_queue=QUEUE, task_default_exchange=QUEUE, task_default_routing_key=QUEUE,
    task_default_queue_type=os.environ.get("CELERY_QUEUE_TYPE", "classic"),
    task_default_exchange_type=os.environ.get("CELERY_EXCHANGE_TYPE", "direct"),
    result_expires=60, worker_send_task_events=False, broker_connection_retry_on_startup=True,
    task_acks_late=True, worker_prefetch_multiplier=1, task_track_started=False, broker_heartbeat=10,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # After a reconnection to RabbitMQ (to others Celery does not do it) a thread of the pool sets
    # the full prefetch count again, beside the main one: of the two that wait for a qos-ok on one
    # channel one takes the other's, and the worker stands still until its heartbeats are missed.
    worker_enable_prefetch_count_reduction=False)


@app.task
def add(left, right):
    return left + right


@app.task
def fail():
    raise ValueError("as asked")


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.3)
    return self.request.retries


@app.task
def pass_gate(gate, number):
    """Ends when there is a file of that name."""
    wait_for(lambda: os.path.exists(gate), "the gate to open", seconds=150)
    return number


@app.task
def clock():
    return time.time()


@app.task(bind=True)
def redelivered(self):
    return self.request.delivery_info["redelivered"]
