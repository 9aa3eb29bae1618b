"""Celery: a real worker, tasks through the broker, and results back over rpc://."""

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import celery
import celery.result

from casebook import at_end, case, raises, restart_server, same, unique, wait_for

os.environ.setdefault("CELERY_QUEUE", unique("celery"))
VERSION = celery.__version__
HERE = Path(__file__).parent


class Worker:
    """A celery worker process on a queue of its own."""

    current = None

    def __init__(self, *arguments):
        self.log = tempfile.NamedTemporaryFile(prefix="celery-", suffix=".log")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool=threads",
             "--concurrency=2", "--loglevel=INFO", f"--hostname={unique('worker')}@localhost",
             *arguments],
            cwd=HERE, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        at_end(self.stop)

    def text(self):
        return Path(self.log.name).read_text(errors="replace")

    def wait_ready(self):
        wait_for(lambda: " ready." in self.text() or self.process.poll() is not None,
                 "a ready worker", seconds=40, pause=0.1)
        assert self.process.poll() is None, self.text()
        return self

    @contextlib.contextmanager
    def telling_why(self):
        """Adds the end of the worker's log to a failure."""
        try:
            yield
        except Exception as error:
            end = "\n".join(self.text().splitlines()[-40:])
            raise AssertionError(f"{error!r}; the worker's log ends with\n{end}") from error

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()


def worker():
    """The worker that the cases share; it is started by the first of them."""
    if Worker.current is None:
        Worker.current = Worker("--without-gossip", "--without-mingle").wait_ready()
    return Worker.current


def tasks():
    import celery_app
    return celery_app


@case
def task_runs_and_its_result_comes_back():
    worker()
    same(tasks().add.delay(2, 3).get(timeout=15), 5)


@case
def many_tasks_all_come_back():
    worker()
    results = [tasks().add.delay(number, number) for number in range(100)]
    same([result.get(timeout=30) for result in results], [2 * number for number in range(100)])


@case
def failure_comes_back_as_its_exception():
    worker()
    error = raises(ValueError, tasks().fail.delay().get, timeout=15)
    same(str(error), "as asked")


@case
def retry_with_countdown_runs_again():
    worker()
    began = time.monotonic()
    same(tasks().flaky.delay().get(timeout=20), 2)
    assert time.monotonic() - began >= 0.6


@case(each=["countdown", "eta"])
def task_waits_for_its_time(kind):
    worker()
    due = time.time() + 1
    when = {"countdown": 1} if kind == "countdown" else {
        "eta": datetime.datetime.fromtimestamp(due, datetime.timezone.utc)}
    ran = tasks().clock.apply_async(**when).get(timeout=15)
    assert ran >= due - 0.05, (ran, due)


@case
def worker_answers_ping_and_is_controlled():
    worker()
    # A fanout exchange and reply queues of their own: Celery's pidbox.
    answers = wait_for(lambda: tasks().app.control.ping(timeout=1), "a pong")
    assert any("pong" in str(answer) for answer in answers), answers
    inspected = tasks().app.control.inspect(timeout=1).active_queues()
    assert os.environ["CELERY_QUEUE"] in str(inspected), inspected


@case
def worker_with_gossip_and_mingle_starts():
    # These use topic exchanges, auto-delete queues and message TTLs at boot.
    first = Worker().wait_ready()
    second = Worker().wait_ready()
    same(tasks().add.delay(1, 1).get(timeout=15), 2)
    assert "Traceback" not in first.text() + second.text(), first.text()
    first.stop()
    second.stop()


@case
def quorum_queue_serves_celery():
    name = unique("celery-quorum")
    environment = dict(os.environ, CELERY_QUEUE=name, CELERY_QUEUE_TYPE="quorum")
    script = ("import celery_app as c; "
              "c.app.conf.broker_transport_options = {'confirm_publish': True}; "
              "from celery.contrib.testing.worker import start_worker\n"
              "with start_worker(c.app, perform_ping_check=False, pool='solo'):\n"
              "    print('sum', c.add.delay(4, 5).get(timeout=20))")
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, env=environment,
                          capture_output=True, text=True, timeout=50)
    assert "sum 9" in done.stdout, done.stdout + done.stderr


@case
def task_waits_in_celerys_own_delay_queues():
    # A worker of quorum queues declares 28 queues in a row, each with twice the time to live of the
    # next: a task goes through those of the bits of its delay. 3 s are two of them.
    name = unique("celery-delayed")
    environment = dict(os.environ, CELERY_QUEUE=name, CELERY_QUEUE_TYPE="quorum",
                       CELERY_EXCHANGE_TYPE="topic")
    script = ("import celery_app as c, time\n"
              "from celery.contrib.testing.worker import start_worker\n"
              "with start_worker(c.app, perform_ping_check=False, pool='solo'):\n"
              "    began = time.time()\n"
              "    result = c.clock.apply_async(countdown=3)\n"
              "    print('waited', round(result.get(timeout=20) - began, 3))")
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, env=environment,
                          capture_output=True, text=True, timeout=50)
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("waited")]
    assert told, done.stdout + done.stderr
    # Celery cuts its delay to whole seconds.
    assert 1.95 <= float(told[0][1]) < 8, told
    with tasks().app.connection_for_write() as connection:
        channel = connection.default_channel
        for level in range(28):
            left = channel.queue_declare(f"celery_delayed_{level}", passive=True).message_count
            same(left, 0)
            channel.queue_delete(f"celery_delayed_{level}")
            channel.exchange_delete(f"celery_delayed_{level}")
        channel.exchange_delete("celery_delayed_delivery")
        channel.queue_delete(name)


@case(restart=True)
def worker_works_on_after_a_restart():
    worker()
    same(tasks().add.delay(1, 2).get(timeout=15), 3)
    with tempfile.TemporaryDirectory() as place, worker().telling_why():
        gate = Path(place) / "gate"
        held = [tasks().pass_gate.delay(str(gate), number) for number in range(20)]
        wait_for(lambda: [received(result) for result in held] == [1, 1] + 18 * [0],
                 "two tasks at the gate")
        wait_for(lambda: waiting_tasks() == 18, "the other tasks in the queue")
        restart_server()
        # Its first step declares the reply queue, which a restart may take (it is auto-delete);
        # no result is sent before, as the worker's two threads are at the gate.
        late = tasks().add.delay(3, 4)
        gate.touch()
        # One wait for all: the worker tries again 2, 6, 12, 20, 30 … seconds after the loss, so
        # it may come back long after the server did, and no answer until then is no loss.
        answers = celery.result.ResultSet([*held, late]).join(timeout=90)
        same(answers, [*range(20), 7])
        # Those at the gate could not be acknowledged: they are kept, too, and come again.
        wait_for(lambda: min(received(result) for result in held[:2]) >= 2, "the tasks again")
        assert worker().process.poll() is None, "the worker ended"


def received(result):
    """How often the shared worker got this task from the broker."""
    return worker().text().count(f"[{result.id}] received")


def waiting_tasks():
    """The tasks in the queue that are not with a worker."""
    with tasks().app.connection_for_read() as connection:
        queue = connection.default_channel.queue_declare(tasks().QUEUE, passive=True)
        return queue.message_count
