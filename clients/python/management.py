"""RabbitMQ's management API over HTTP, with nothing but Python's own library."""

import base64
import http.client
import json
from urllib.parse import quote

from casebook import ADMIN

__all__ = ["ask", "delete", "get", "new_user", "permit", "post", "put", "quote"]


def ask(method, path, body=None, user="guest", password=None, at=ADMIN):
    """The status and the decoded body of a request; `path` is below /api."""
    login = base64.b64encode(f"{user}:{password or user}".encode()).decode()
    connection = http.client.HTTPConnection(at, timeout=20)
    try:
        text = json.dumps(body) if body is not None else None
        connection.request(method, f"/api/{path}", text, {
            "Authorization": f"Basic {login}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        received = answer.read()
        return answer.status, json.loads(received) if received else None
    finally:
        connection.close()


def get(path, **who):
    status, body = ask("GET", path, **who)
    assert status == 200, (path, status, body)
    return body


def put(path, body, **who):
    status, answer = ask("PUT", path, body, **who)
    assert status in (201, 204), (path, status, answer)
    return status


def post(path, body, **who):
    status, answer = ask("POST", path, body, **who)
    assert status in (200, 201, 204), (path, status, answer)
    return answer


def delete(path, **who):
    status, answer = ask("DELETE", path, **who)
    assert status == 204, (path, status, answer)


def new_user(name, tags=""):
    """Creates a user whose password is the name."""
    put(f"users/{quote(name, safe='')}", {"password": name, "tags": tags})
    return name


def permit(user, configure=".*", write=".*", read=".*", vhost="/"):
    path = f"permissions/{quote(vhost, safe='')}/{quote(user, safe='')}"
    put(path, {"configure": configure, "write": write, "read": read})
