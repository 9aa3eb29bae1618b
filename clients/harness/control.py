"""Restarts of the server in the middle of cases.

A case that needs one connects to the control port, writes `restart`, and reads a line when the
server is back. Cases of several clients share one restart: it happens when every running case
program waits for one.
"""

import socketserver
import threading

GATHER_SECONDS_MAX = 60


class Control:
    def __init__(self, target):
        self.target = target
        self.changed = threading.Condition()
        self.alive = 0
        self.waiting = []
        self.error = None
        control = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                if self.rfile.readline().strip() == b"restart":
                    self.wfile.write(control.wait_for_restart().encode() + b"\n")

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def joined(self):
        with self.changed:
            self.alive += 1

    def left(self):
        with self.changed:
            self.alive -= 1
            self.changed.notify_all()

    def wait_for_restart(self):
        done = threading.Event()
        with self.changed:
            self.waiting.append(done)
            self.changed.notify_all()
            gathered = self.changed.wait_for(
                lambda: done.is_set() or len(self.waiting) >= self.alive, GATHER_SECONDS_MAX)
            if not done.is_set():
                assert gathered or self.waiting
                batch, self.waiting = self.waiting, []
                try:
                    self.target.restart()
                    self.error = None
                except Exception as error:
                    self.error = error
                for other in batch:
                    other.set()
                self.changed.notify_all()
        return "ok" if self.error is None else f"failed: {self.error}".replace("\n", " ")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
