"""Collects cases, runs each under a deadline, and prints what came of it as JSON lines."""

import asyncio
import inspect
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
import uuid

CASE_SECONDS_MAX = 60
RESTART_SECONDS_MAX = 180
WAIT_SECONDS_MAX = 20

KAFKA = os.environ.get("KAFKA", "")
AMQP = os.environ.get("AMQP", "")
ADMIN = os.environ.get("ADMIN", "")
TARGET = os.environ.get("TARGET", "")

CASES = []
ENDINGS = []


class Skip(Exception):
    """Ends a case that does not apply here; the text says why."""


class Case:
    def __init__(self, name, body, restart):
        self.name = name
        self.body = body
        self.restart = restart


def case(body=None, *, restart=False, each=None, only=None):
    """Registers a function, or a coroutine function, as a case named after it.

    `each` gives the values of its one argument, each a case of its own; `restart` puts it in the
    later phase in which the server is restarted; `only` names the targets it holds for."""
    def register(body):
        if only and TARGET not in only:
            return body
        if each is None:
            CASES.append(Case(body.__name__, body, restart))
        else:
            for value in each:
                CASES.append(Case(f"{body.__name__}[{value}]",
                                  lambda value=value: body(value), restart))
        return body
    return register(body) if body else register


def unique(name):
    """A name that no other case uses."""
    return f"{name}-{uuid.uuid4().hex[:10]}"


def wait_for(fact, what, seconds=WAIT_SECONDS_MAX, pause=0.02):
    """Asks `fact` until it gives something true, and gives that; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)


async def wait_for_async(fact, what, seconds=WAIT_SECONDS_MAX, pause=0.02):
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(pause)


def restart_server():
    """Returns when the server was stopped, started again and accepts connections."""
    host, port = os.environ["CONTROL"].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as control:
        control.sendall(b"restart\n")
        answer = control.makefile().readline().strip()
    assert answer == "ok", answer


async def restart_server_async():
    await asyncio.get_running_loop().run_in_executor(None, restart_server)


def raises(kinds, body, *arguments, **named):
    """The exception of one of `kinds` that calling `body` raises; AssertionError without one."""
    try:
        result = body(*arguments, **named)
    except kinds as error:
        return error
    raise AssertionError(f"no {kinds} but {result!r}")


def same(found, wanted, what=""):
    assert found == wanted, f"{what}: {_short(found)} instead of {_short(wanted)}"


def _short(value):
    text = repr(value)
    return text if len(text) < 600 else f"{text[:300]} … {text[-200:]} ({len(text)} characters)"


def at_end(body):
    """Has `body` called after the last case; the program's end skips what atexit knows."""
    ENDINGS.append(body)


def run(options, version):
    say(client=options.client, version=version)
    for case in CASES:
        if case.restart != options.restart or options.only not in case.name:
            continue
        if options.list:
            say(case=case.name)
        else:
            run_case(case)
    for body in reversed(ENDINGS):
        body()
    sys.stdout.flush()
    # Threads of timed-out cases and of client libraries must not keep the program alive.
    os._exit(0)


class Worker:
    """The thread that runs the cases, one after the other.

    It is one thread because some clients (Celery's results) belong to the thread that made them;
    a case that does not end keeps its thread, and the next ones get a new one."""

    def __init__(self):
        self.work, self.done = queue.Queue(), queue.Queue()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            self.done.put(attempt(self.work.get()))

    def attempt(self, body, seconds):
        self.work.put(body)
        try:
            return self.done.get(timeout=seconds)
        except queue.Empty:
            frame = sys._current_frames().get(self.thread.ident)
            stack = "".join(traceback.format_stack(frame)[-6:]) if frame else ""
            return None, f"did not end in time; it was at\n{stack}"


WORKERS = []


def run_case(case):
    began = time.monotonic()
    if not WORKERS:
        WORKERS.append(Worker())
    result, detail = WORKERS[-1].attempt(
        case.body, RESTART_SECONDS_MAX if case.restart else CASE_SECONDS_MAX)
    if result is None:
        WORKERS.append(Worker())
        result = "failed"
    say(case=case.name, result=result, seconds=round(time.monotonic() - began, 3), detail=detail)


def attempt(body):
    try:
        result = body()
        if inspect.iscoroutine(result):
            asyncio.run(result)
        return "passed", ""
    except Skip as why:
        return "skipped", str(why)
    except BaseException:
        return "failed", traceback.format_exc(limit=-8)


def say(**fields):
    print(json.dumps(fields), flush=True)
