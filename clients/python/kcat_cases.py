"""kcat: producing, consuming and asking from the shell."""

import json
import subprocess
import time

from casebook import KAFKA, case, restart_server, same, unique, wait_for


def version():
    text = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    return next((line.split()[1] for line in text.splitlines() if line.startswith("Version")), "?")


VERSION = version()


def kcat(*arguments, text="", check=True):
    done = subprocess.run(["kcat", "-b", KAFKA, *arguments], input=text.encode(),
                          capture_output=True, timeout=40)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done


def produced(lines, *arguments):
    name = unique("kcat")
    kcat("-P", "-t", name, *arguments, text="".join(f"{line}\n" for line in lines))
    return name


def consumed(name, *arguments):
    return kcat("-C", "-t", name, "-e", "-q", *arguments).stdout.decode()


@case
def lines_go_in_and_come_out():
    lines = [f"line {number}" for number in range(1000)]
    same(consumed(produced(lines)).splitlines(), lines)


@case(each=["gzip", "snappy", "lz4", "zstd"])
def compressed_lines_come_back(codec):
    lines = [f"{codec} {number}" for number in range(500)]
    same(consumed(produced(lines, "-z", codec)).splitlines(), lines)


@case
def keys_headers_and_nulls_are_shown():
    name = unique("kcat")
    kcat("-P", "-t", name, "-K", ":", "-Z", "-H", "a=1", "-H", "b=two", text="key:value\nnull:\n")
    found = [json.loads(line) for line in consumed(name, "-J").splitlines()]
    same([(entry["key"], entry["payload"], entry["headers"]) for entry in found],
         [("key", "value", ["a", "1", "b", "two"]), ("null", None, ["a", "1", "b", "two"])])


@case
def consuming_starts_where_it_is_told():
    name = produced([str(number) for number in range(100)])
    same(consumed(name, "-p", "0", "-o", "42", "-c", "2").split(), ["42", "43"])
    same(consumed(name, "-p", "0", "-o", "-3").split(), ["97", "98", "99"])


@case
def consuming_starts_at_a_time():
    name = produced(["old"])
    stamp = json.loads(consumed(name, "-J").splitlines()[0])["ts"]
    wait_for(lambda: time.time() * 1000 > stamp + 10, "a later clock")
    kcat("-P", "-t", name, text="new\n")
    same(consumed(name, "-p", "0", "-o", f"s@{stamp + 5}").split(), ["new"])


@case
def offset_of_a_time_is_asked():
    name = produced(["a", "b"])
    stamp = json.loads(consumed(name, "-J").splitlines()[0])["ts"]
    same(kcat("-Q", "-t", f"{name}:0:{stamp}").stdout.decode().strip(), f"{name} [0] offset 0")


@case
def metadata_is_listed():
    name = produced(["x"])
    found = json.loads(kcat("-L", "-J").stdout)
    same([broker["name"] for broker in found["brokers"]], [KAFKA])
    assert name in [topic["topic"] for topic in found["topics"]]


@case
def group_consumes_and_remembers():
    name, group = produced(["1", "2", "3"]), unique("group")
    options = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "-e", "-q"]
    same(kcat("-G", group, *options, name).stdout.split(), [b"1", b"2", b"3"])
    kcat("-P", "-t", name, text="4\n")
    same(kcat("-G", group, *options, name).stdout.split(), [b"4"])


@case
def large_message_is_sent_from_a_file():
    import tempfile
    name = unique("kcat")
    with tempfile.NamedTemporaryFile() as file:
        body = b"0123456789abcdef" * 60_000
        file.write(body)
        file.flush()
        kcat("-P", "-t", name, file.name)
    assert kcat("-C", "-t", name, "-e", "-q", "-D", "").stdout == body


@case
def idempotent_lines_come_once():
    lines = [str(number) for number in range(2000)]
    name = produced(lines, "-X", "enable.idempotence=true")
    same(consumed(name).split(), lines)


@case
def unknown_topic_is_an_error():
    done = kcat("-C", "-t", unique("unknown"), "-e", "-X", "allow.auto.create.topics=false",
                check=False)
    assert done.returncode != 0 and b"nknown topic" in done.stderr, done.stderr


@case(restart=True)
def lines_are_there_after_a_restart():
    name = produced(["kept 1", "kept 2"])
    restart_server()
    kcat("-P", "-t", name, text="after\n")
    same(consumed(name).splitlines(), ["kept 1", "kept 2", "after"])
