"""The messages of a crash load: each says who sent it as which, and proves that it is whole."""

import random
import zlib


class Sender:
    """Makes the bodies of one publisher of one round, in sequence."""

    def __init__(self, name, seed):
        self.name = name
        self.chance = random.Random(f"{seed}/{name}")
        self.number = 0

    def next(self, group=0):
        self.number += 1
        roll = self.chance.random()
        size = self.chance.randrange(1_500_000, 2_000_000) if roll < 0.002 else (
            self.chance.randrange(10_000, 60_000) if roll < 0.02 else self.chance.randrange(0, 1500))
        filling = self.chance.randbytes(32) * (size // 32)
        head = f"{self.name} {self.number} {group} {zlib.crc32(filling)}|"
        return (self.name, self.number), head.encode() + filling


def identify(body):
    """((sender, number), group) of a body; raises ValueError when it is not whole."""
    head, bar, filling = body.partition(b"|")
    try:
        name, number, group, check = head.decode().split(" ")
        whole = bar and zlib.crc32(filling) == int(check)
    except (UnicodeDecodeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"a body that nobody sent: {body[:60]!r} of {len(body)} bytes")
    return (name, int(number)), int(group)


def order_faults(place, found):
    """A fault for each message that comes before one its sender sent earlier, or comes twice."""
    last = {}
    for name, number in found:
        if number <= last.get(name, 0):
            yield f"{place}: {name} {number} comes after {name} {last[name]}"
        last[name] = max(number, last.get(name, 0))
