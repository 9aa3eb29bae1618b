"""Crossdock's own HTTP API for messages, with nothing but Python's own library."""

import http.client
import json
from urllib.parse import quote, urlencode

from casebook import ADMIN

__all__ = ["ask", "need", "v1"]


def ask(method, path, body=None, **query):
    """The status and the decoded body of a request; `path` is below /v1."""
    connection = http.client.HTTPConnection(ADMIN, timeout=20)
    try:
        text = json.dumps(body) if body is not None else None
        asked = "/v1/" + "/".join(quote(part, safe="") for part in path.split("/"))
        if query:
            asked += "?" + urlencode(query, doseq=True)
        connection.request(method, asked, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        received = answer.read()
        return answer.status, json.loads(received) if received else None
    finally:
        connection.close()


def v1(method, path, body=None, **query):
    status, answer = ask(method, path, body, **query)
    assert status in (200, 201, 202, 204), (path, status, answer)
    return answer
