"""Installs what the clients need, each once, into `clients/.cache`, from the committed lock files."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


class MissingTool(Exception):
    """A toolchain that is not on this machine; its clients are skipped by name."""


class Toolchains:
    """Paths of installed client packages and built case programs; every install happens once."""

    def __init__(self):
        CACHE.mkdir(exist_ok=True)
        self._lock = threading.Lock()

    def python(self):
        """The interpreter of the virtual environment with the packages of requirements.txt."""
        interpreter = CACHE / "venv" / "bin" / "python"
        lock = ROOT / "python" / "requirements.txt"

        def install():
            shutil.rmtree(CACHE / "venv", ignore_errors=True)
            call([sys.executable, "-m", "venv", str(CACHE / "venv")])
            call([str(interpreter), "-m", "pip", "install", "-q", "--disable-pip-version-check",
                  "-r", str(lock)])
        self._once("venv", [lock], interpreter, install)
        return interpreter

    def node(self):
        """The node_modules directory of package-lock.json, for NODE_PATH."""
        need("node", "npm")
        modules = CACHE / "node" / "node_modules"
        sources = [ROOT / "node" / "package.json", ROOT / "node" / "package-lock.json"]

        def install():
            shutil.rmtree(CACHE / "node", ignore_errors=True)
            (CACHE / "node").mkdir()
            for source in sources:
                shutil.copy(source, CACHE / "node")
            call(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=CACHE / "node")
        self._once("node", sources, modules, install)
        return modules

    def go(self):
        """The case program of the Go clients."""
        need("go")
        program = CACHE / "go-cases"
        sources = sorted((ROOT / "go").glob("*"))
        self._once("go", sources, program,
                   lambda: call(["go", "build", "-o", str(program), "."], cwd=ROOT / "go"))
        return program

    def java(self):
        """The class path of the Java clients' case program."""
        need("java", "javac", "mvn")
        out = CACHE / "java"
        sources = [ROOT / "java" / "pom.xml", *sorted((ROOT / "java").glob("*.java"))]

        def install():
            shutil.rmtree(out, ignore_errors=True)
            copy_jars(ROOT / "java" / "pom.xml", out / "lib")
            call(["javac", "-cp", f"{out}/lib/*", "-d", str(out / "classes"),
                  *[str(source) for source in sources[1:]]])
        self._once("java", sources, out / "classes", install)
        return f"{out}/classes:{out}/lib/*"

    def kafka_jars(self):
        """The directory with the jars of a whole Apache Kafka."""
        need("java", "mvn")
        jars = CACHE / "kafka-peer"
        pom = ROOT / "kafka-peer" / "pom.xml"

        def install():
            shutil.rmtree(jars, ignore_errors=True)
            copy_jars(pom, jars)
        self._once("kafka-peer", [pom], jars, install)
        return jars

    def rust(self, client):
        """The case program of that Rust client."""
        need("cargo")
        features = []
        if client == "rdkafka":
            need("make", "g++")
            features = ["--features", "rdkafka"]
        program = CACHE / "rust" / "release" / f"{client}-cases"
        base = ROOT / "rust"
        sources = [base / "Cargo.toml", base / "Cargo.lock", *sorted((base / "src").glob("*.rs"))]
        self._once(f"rust-{client}", sources, program, lambda: call(
            ["cargo", "build", "--quiet", "--release", "--locked", "--bin", f"{client}-cases",
             *features, "--target-dir", str(CACHE / "rust")], cwd=base))
        return program

    def kcat(self):
        need("kcat")
        return "kcat"

    def _once(self, name, sources, product, install):
        digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources))
        mark = CACHE / f"{name}.installed"
        with self._lock:
            fresh = mark.exists() and mark.read_text() == digest.hexdigest()
            if fresh and Path(product).exists():
                return
            print(f"installing {name} …", flush=True)
            install()
            mark.write_text(digest.hexdigest())


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise MissingTool(f"no {program} on the PATH")


def copy_jars(pom, directory):
    call(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
          "-DincludeScope=runtime", f"-DoutputDirectory={directory}"])


def call(command, cwd=None):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode != 0:
        tail = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(command)} failed:\n{tail}")
