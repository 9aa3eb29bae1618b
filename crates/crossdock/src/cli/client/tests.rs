use super::*;

fn read(text: &str) -> Result<(u16, String), String> {
    let answer = read_answer(&mut text.as_bytes()).map_err(|error| error.to_string())?;
    Ok((answer.status, String::from_utf8(answer.body).unwrap()))
}

#[test]
fn both_forms_of_a_body_are_read() {
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd";
    assert_eq!(read(plain), Ok((200, "abc".into())));
    let chunked =
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    assert_eq!(read(chunked), Ok((201, "abcd".into())));
    assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), Ok((204, String::new())));
}

#[test]
fn an_answer_that_is_not_whole_is_no_answer() {
    for text in [
        "",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
}

#[test]
fn names_are_escaped() {
    let remote = Remote { admin: String::new(), namespace: "/".into() };
    assert_eq!(remote.path(&["queues", "a/b é"]), "/v1/queues/a%2Fb%20%C3%A9?namespace=%2F");
}
