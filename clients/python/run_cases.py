"""Runs the cases of one Python client (or of a command-line client) and prints them as JSON lines."""

import argparse
import importlib
import sys

import casebook

MODULES = {
    "pika": ["pika_handshake", "pika_routing", "pika_queues", "pika_delivery", "pika_limits",
             "pika_dead_letters", "pika_overflow", "pika_single_active", "pika_priorities",
             "pika_key_order", "pika_sessions", "pika_retries", "pika_pacing", "pika_delayed",
             "pika_recurring", "pika_replay", "pika_browsing", "pika_redrive", "pika_hashing",
             "pika_deduplication", "pika_bodies", "pika_access", "pika_management", "pika_managing",
             "pika_definitions", "pika_policies", "pika_streams", "pika_events", "pika_clients",
             "pika_stacks", "pika_restart"],
    "examples": ["example_cases"],
    "pika-asyncio": ["pika_asyncio"],
    "aio-pika": ["aio_pika_cases"],
    "kombu": ["kombu_cases"],
    "celery": ["celery_cases"],
    "confluent": ["confluent_records", "confluent_offsets", "confluent_groups", "confluent_admin",
                  "confluent_restart"],
    "kafka-python": ["kafka_python_cases"],
    "aiokafka": ["aiokafka_cases"],
    "interchange": ["interchange_properties", "interchange_bodies", "interchange_kinds"],
    "import": ["import_cases"],
    "kcat": ["kcat_cases"],
    "kafka-tools": ["console_cases"],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=sorted(MODULES))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    modules = [importlib.import_module(name) for name in MODULES[options.client]]
    casebook.run(options, modules[0].VERSION)


if __name__ == "__main__":
    sys.exit(main())
