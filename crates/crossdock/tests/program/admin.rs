//! The commands, and the admin API behind them.

use crate::running::{Running, Scratch, run};

#[test]
fn lines_go_through_a_queue() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let told = broker.ok(&["publish", "--queue", "q", "--create"], "one\n\nthree");
    assert_eq!(told, "published 3 messages to q\n");
    assert_eq!(broker.ok(&["consume", "--queue", "q", "--leave"], ""), "one\n\nthree\n");
    assert_eq!(broker.ok(&["consume", "--queue", "q", "--count", "2"], ""), "one\n\n");
    let left = broker.ok(&["consume", "--queue", "q", "--json"], "");
    assert!(left.contains("\"offset\":2") && left.contains("\"value\":\"three\""), "{left}");
    assert!(left.contains("\"redelivered\":true"), "it was shown before: {left}");
    assert_eq!(broker.ok(&["consume", "--queue", "q"], ""), "");
    broker.stop();
}

#[test]
fn a_topic_is_read_again_and_again() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let create = ["publish", "--topic", "t", "--create", "--partitions", "3", "--key", "k"];
    broker.ok(&create, "a\nb\n");
    assert_eq!(broker.ok(&["consume", "--topic", "t"], ""), "a\nb\n");
    assert_eq!(broker.ok(&["consume", "--topic", "t", "--count", "1"], ""), "a\n");
    let list = broker.ok(&["list", "topics"], "");
    assert_eq!(list.lines().nth(1).unwrap().split_whitespace().next_back(), Some("79"), "{list}");
    broker.stop();
}

#[test]
fn competing_consumers_of_a_topic_leave_it_whole() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    broker.ok(&["publish", "--topic", "t", "--create"], "a\nb\n");
    assert_eq!(broker.ok(&["consume", "--queue", "t"], ""), "a\nb\n");
    assert_eq!(broker.ok(&["consume", "--queue", "t"], ""), "");
    assert_eq!(broker.ok(&["consume", "--topic", "t"], ""), "a\nb\n");
    let shown = broker.ok(&["describe", "topic", "t"], "");
    assert!(shown.contains("messages=0 name=queue ready=0 unacked=0"), "{shown}");
    broker.stop();
}

#[test]
fn json_carries_what_lines_cannot() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let input = concat!(
        r#"{"value":{"base64":"/w=="},"key":"k","headers":[["a","1"],["a",null]],"timestamp_ms":5}"#,
        "\n",
        r#"{"value":null,"headers":{"content-type":"text/plain"}}"#,
        "\n"
    );
    broker.ok(&["publish", "--json", "--queue", "q", "--create"], input);
    let shown = broker.ok(&["consume", "--json", "--queue", "q"], "");
    let lines: Vec<&str> = shown.lines().collect();
    let first = r#""key":"k","value":{"base64":"/w=="},"headers":[["a","1"],["a",null]]}"#;
    assert!(lines[0].contains(r#""timestamp_ms":5,"#), "{shown}");
    assert!(lines[0].ends_with(first), "{shown}");
    assert!(
        lines[1].ends_with(r#""key":null,"value":null,"headers":[["content-type","text/plain"]]}"#),
        "{shown}"
    );
    broker.stop();
}

#[test]
fn failures_are_one_line_each() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    broker.ok(&["publish", "--queue", "q", "--create"], "");
    for (arguments, input, told) in [
        (&["publish", "--queue", "x"][..], "a\n", "there is no queue or topic 'x'"),
        (&["consume", "--queue", "x"], "", "there is no queue or topic 'x'"),
        (&["consume", "--topic", "q"], "", "'q' is a queue, not a topic"),
        (&["describe", "topic", "q"], "", "'q' is a queue, not a topic"),
        (&["describe", "group", "g"], "", "there is no group 'g'"),
        (&["publish", "--topic", "q", "--create"], "", "'q' is a queue"),
        (&["publish", "--json", "--queue", "q"], "[]\n", "line 1 is no JSON object"),
        (&["publish", "--json", "--queue", "q"], "{\"v\":1}\n", "the body is not right: unknown"),
        (&["publish", "--queue", "q", "/nonexistent"], "", "cannot read /nonexistent"),
        (&["publish"], "", "the following required arguments were not provided"),
    ] {
        let ended = broker.feed(arguments, input);
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("crossdock: {told}")), "{}", ended.stderr);
    }
    broker.stop();
    let ended = run(&["list", "queues", "--admin", "127.0.0.1:1"]);
    assert!(ended.stderr.starts_with("crossdock: cannot talk to a broker at 127.0.0.1:1"));
}

#[test]
fn the_api_says_no_in_json() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    for (request, status, kind) in [
        ("GET /nowhere HTTP/1.0\r\n\r\n", 404, "not_found"),
        ("POST /health HTTP/1.0\r\n\r\n", 405, "invalid"),
        ("GET /health HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n", 403, "denied"),
        ("GET /v1/queues/x HTTP/1.0\r\n\r\n", 404, "not_found"),
        ("PUT /v1/topics/x HTTP/1.0\r\nContent-Length: 1\r\n\r\n{", 400, "invalid"),
        ("PUT /v1/topics/a..%2F HTTP/1.0\r\n\r\n", 400, "invalid"),
    ] {
        let answer = broker.http(request);
        assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{request}: {answer}");
        assert!(answer.contains(&format!("{{\"error\":{{\"kind\":\"{kind}\"")), "{answer}");
    }
    broker.stop();
}

#[test]
fn names_come_and_go() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let put = "PUT /v1/queues/a%2Fb HTTP/1.0\r\n\r\n";
    assert!(broker.http(put).contains("201 Created"));
    assert!(broker.http(put).contains("200 OK"));
    assert!(broker.ok(&["list", "queues"], "").contains("a/b"));
    assert!(broker.http("DELETE /v1/topics/a%2Fb HTTP/1.0\r\n\r\n").contains("404"));
    assert!(broker.http("DELETE /v1/queues/a%2Fb HTTP/1.0\r\n\r\n").contains("204"));
    assert!(!broker.ok(&["list", "queues"], "").contains("a/b"));
    broker.stop();
}

#[test]
fn metrics_count_what_happened() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    broker.ok(&["publish", "--queue", "q", "--create"], "a\nb\nc\n");
    broker.ok(&["consume", "--queue", "q", "--count", "1"], "");
    let page = broker.http("GET /metrics HTTP/1.0\r\n\r\n");
    let labels = "{namespace=\"/\",queue=\"q\",subscription=\"\"}";
    for (name, value) in [
        ("messages", 2),
        ("messages_ready", 2),
        ("messages_unacked", 0),
        ("messages_published_total", 3),
        ("messages_delivered_total", 1),
        ("messages_acked_total", 1),
    ] {
        let line = format!("\ncrossdock_queue_{name}{labels} {value}\n");
        assert!(page.contains(&line), "{line} is not in {page}");
    }
    let end = "crossdock_partition_end_offset{namespace=\"/\",topic=\"q\",partition=\"0\"} 3\n";
    assert!(page.contains(end), "{page}");
    assert!(!page.contains("crossdock_journal_sync_seconds_count 0\n"), "{page}");
    broker.stop();
}
