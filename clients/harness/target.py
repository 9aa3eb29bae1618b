"""The servers that the cases run against: Crossdock, and the real RabbitMQ and Kafka beside it.

Every target lives in a directory and on loopback ports of its own, and can be stopped, killed and
started again on the same data and the same ports.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

START_SECONDS_MAX = 90
STOP_SECONDS_MAX = 40
EPMD_SECONDS_MAX = 10


def free_port():
    """A TCP port of the loopback address that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Target:
    """One server process. Subclasses say how it is prepared, started and known to be ready."""

    name = ""
    wires = ()

    def __init__(self, directory, tools):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tools = tools
        self.process = None
        self.ports = {wire: free_port() for wire in self.wires}
        self.starts = 0

    def address(self, wire):
        port = self.ports.get(wire)
        return f"127.0.0.1:{port}" if port else ""

    def prepare(self):
        pass

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def spawn(self):
        if self.starts == 0:
            self.prepare()
        self.starts += 1
        log = open(self.directory / f"server-{self.starts}.log", "wb")
        self.process = subprocess.Popen(
            self.command(), env=self.environment(), stdout=log, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, cwd=self.directory, start_new_session=True)
        log.close()

    def start(self):
        self.spawn()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at start:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.name} not ready in time:\n{self.log_tail()}")
            time.sleep(0.05)

    def ready(self):
        return all(accepts(port) for port in self.ports.values())

    def stop(self):
        """A clean stop: SIGTERM, and SIGKILL only when it is not gone in time."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self):
        """SIGKILL to the server and all it started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def pause(self):
        """SIGSTOP; returns when every thread stands still."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def resume(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def restart(self, hard=False):
        self.kill() if hard else self.stop()
        self.start()

    def close(self):
        self.kill()

    def log_tail(self):
        text = (self.directory / f"server-{self.starts}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:])

    def version(self):
        return ""


class Crossdock(Target):
    name = "crossdock"
    wires = ("kafka", "amqp", "admin")

    def __init__(self, directory, tools, binary):
        super().__init__(directory, tools)
        self.binary = str(Path(binary).resolve())
        self.data = str(self.directory / "data")
        self.record = None
        self.options = []

    def command(self):
        listen = [f"--listen={wire}=127.0.0.1:{port}" for wire, port in self.ports.items()]
        return [self.binary, "serve", "--data", self.data, *listen, *self.options]

    def record_writes(self):
        """Lets it remember what is not synced, so that its power can be cut; before any start."""
        self.record = str(self.directory / "record")
        self.keep_house(False)

    def keep_house(self, much):
        """From the next start on: much housekeeping, or as much as is usual."""
        self.options = [f"--record-writes={self.record}"]
        if much:
            self.options.append(f"--segment-bytes={4 << 20}")

    def unsynced(self):
        """What a power cut could undo now: "writes" when a log of what was replaced is not empty,
        "names" when a change of names follows the durable ones. To be asked of a paused server."""
        found = set()
        for path in Path(self.record).iterdir():
            try:
                if path.name.startswith("undo-") and path.stat().st_size:
                    found.add("writes")
                if path.name == "names" and not all(
                        line.startswith("durable ") for line in path.read_text().splitlines()):
                    found.add("names")
            except FileNotFoundError:
                continue
        return found

    def cut_power(self, seed):
        """After a kill: loses what a power cut could have lost. Says what that was."""
        if not (Path(self.record) / "names").exists():
            return "killed before it touched the store"
        return self.run("power-cut", self.data, "--record", self.record, "--seed", str(seed)).strip()

    def damage(self):
        """What `check` says of the store at rest, if it finds damage."""
        found = subprocess.run([self.binary, "check", self.data], capture_output=True, text=True)
        return (found.stdout + found.stderr).strip() if found.returncode else ""

    def run(self, *arguments):
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"crossdock {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def version(self):
        out = subprocess.run([self.binary, "--version"], capture_output=True, text=True)
        return out.stdout.strip()


class RabbitMq(Target):
    """Debian's rabbitmq-server, started from its own scripts with nothing shared but the code."""

    name = "rabbitmq"
    wires = ("amqp", "admin")
    script = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def prepare(self):
        self.epmd_port = free_port()
        self.dist_port = free_port()
        plugins = ["management", "consistent_hash_exchange", "sharding"]
        (self.directory / "plugins").write_text(
            f"[{','.join('rabbitmq_' + plugin for plugin in plugins)}].\n")
        (self.directory / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.relative = 0.6\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.ports['admin']}\n")

    def command(self):
        return [self.script]

    def environment(self):
        here = self.directory
        return dict(
            os.environ, HOME=str(here), RABBITMQ_NODENAME=f"peer{self.ports['amqp']}@localhost",
            RABBITMQ_MNESIA_BASE=str(here / "mnesia"), RABBITMQ_LOG_BASE=str(here / "log"),
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1", RABBITMQ_NODE_PORT=str(self.ports["amqp"]),
            RABBITMQ_DIST_PORT=str(self.dist_port), ERL_EPMD_PORT=str(self.epmd_port),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(here / "plugins"),
            RABBITMQ_CONFIG_FILE=str(here / "rabbitmq"),
            RABBITMQ_PID_FILE=str(here / "pid"))

    def close(self):
        super().close()
        # The port mapper is a daemon of its own and outlives the node. It refuses to end, with 0 as
        # its exit code, until it has seen that the node is gone.
        deadline = time.monotonic() + EPMD_SECONDS_MAX
        while time.monotonic() < deadline:
            ended = subprocess.run(["epmd", "-port", str(self.epmd_port), "-kill"],
                                   capture_output=True, text=True)
            if "not allowed" not in ended.stdout + ended.stderr:
                break
            time.sleep(0.05)

    def version(self):
        out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"],
                             capture_output=True, text=True)
        return f"RabbitMQ {out.stdout.strip()} (Debian)"


class Kafka(Target):
    """Apache Kafka, one node that is broker and controller, from the jars of kafka-peer/pom.xml."""

    name = "kafka"
    wires = ("kafka",)

    def prepare(self):
        self.controller_port = free_port()
        self.jars = str(self.tools.kafka_jars() / "*")
        (self.directory / "server.properties").write_text("\n".join([
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{self.controller_port}",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            f"listeners=PLAINTEXT://127.0.0.1:{self.ports['kafka']},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.ports['kafka']}",
            f"log.dirs={self.directory / 'data'}",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "transaction.state.log.num.partitions=2",
            "group.initial.rebalance.delay.ms=0",
            ""]))
        self.run("kafka.tools.StorageTool", "format", "-t",
                 str(uuid.uuid4()), "-c", "server.properties")

    def run(self, main, *arguments):
        subprocess.run([*self.java(main), *arguments], cwd=self.directory, check=True,
                       capture_output=True, env=self.environment())

    def java(self, main):
        return ["java", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                f"-Dlog4j2.configurationFile={self.logging()}", "-cp", self.jars, main]

    def logging(self):
        path = self.directory / "log4j2.properties"
        path.write_text("rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n"
                        "appender.out.type=Console\nappender.out.name=out\n"
                        "appender.out.layout.type=PatternLayout\n"
                        "appender.out.layout.pattern=%d %p %c %m%n\n")
        return path

    def command(self):
        return [*self.java("kafka.Kafka"), "server.properties"]

    def version(self):
        jar = next(Path(self.jars).parent.glob("kafka_2.13-*.jar"))
        return f"Apache Kafka {jar.stem.removeprefix('kafka_2.13-')}"


def build_target(name, directory, tools, binary=None):
    """The target of that name, not yet started; `directory` is emptied first."""
    shutil.rmtree(directory, ignore_errors=True)
    if name == "crossdock":
        if not binary:
            raise SystemExit("--target crossdock needs --binary PATH")
        return Crossdock(directory, tools, binary)
    if name == "rabbitmq" and not os.path.exists(RabbitMq.script):
        raise SystemExit("no RabbitMQ here: install Debian's rabbitmq-server")
    return {"rabbitmq": RabbitMq, "kafka": Kafka}[name](directory, tools)
