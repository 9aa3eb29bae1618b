//! HTTP/1.1 as far as the admin API and RabbitMQ's need it: one connection for each request.
//!
//! Source: RFC 9112, sections 3, 6 and 7.1.

use super::{Failed, Remote};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer takes, its waits included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest line of an answer's head.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Answers are bounded by the server; what is larger is not one.
const BODY_BYTES_MAX: usize = 512 << 20;

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Remote {
    /// The path of `parts` under `/v1`, each one escaped.
    pub(super) fn path(&self, parts: &[&str]) -> String {
        let mut path = "/v1".to_owned();
        for part in parts {
            path.push('/');
            escape(&mut path, part);
        }
        path.push_str("?namespace=");
        escape(&mut path, &self.namespace);
        path
    }

    /// Gives the body of a good answer; of a bad one, its error as the failure.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Failed> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = exchange(&self.admin, None, (method, path), &body).map_err(|error| {
            let admin = &self.admin;
            Failed::new(format!(
                "cannot talk to a broker at {admin}: {error}; start one with `crossdock`, or say \
                 where it is with --admin HOST:PORT"
            ))
        })?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status => Err(Failed::new(why(status, &answer.body))),
        }
    }

    /// Gives the JSON of a good answer.
    pub(super) fn ask_json(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let answer = self.ask(method, path, body)?;
        serde_json::from_slice(&answer)
            .map_err(|error| Failed::new(format!("{} answered with no JSON: {error}", self.admin)))
    }
}

/// One request to an HTTP server; `login` is a name and a password.
pub(super) fn exchange(
    place: &str,
    login: Option<(&str, &str)>,
    (method, path): (&str, &str),
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let login = login.map(|(user, password)| {
        let both = admin::base64::encode(format!("{user}:{password}").as_bytes());
        format!("Authorization: Basic {both}\r\n")
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n{}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        login.unwrap_or_default(),
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

fn read_answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let status_line = line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| broken("it is no HTTP server"))?;
    let (mut chunked, mut length) = (false, None);
    loop {
        let header = line(stream)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| broken("a header is broken"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = usize::from_str_radix(line(stream)?.trim(), 16);
            match size.map_err(|_| broken("the answer was cut off"))? {
                0 => break,
                size => read_exactly(stream, size, &mut body)?,
            }
            line(stream)?;
        }
    } else {
        read_exactly(stream, length.unwrap_or(0), &mut body)?;
    }
    Ok(Answer { status, body })
}

fn read_exactly(stream: &mut impl BufRead, size: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    if size > BODY_BYTES_MAX - body.len() {
        return Err(broken("the answer is too large"));
    }
    match stream.take(size as u64).read_to_end(body)? == size {
        true => Ok(()),
        false => Err(broken("the answer was cut off")),
    }
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(whole) => Ok(whole.trim_end_matches('\r').to_owned()),
        None => Err(broken("the connection was closed")),
    }
}

fn broken(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

/// What a bad answer says.
fn why(status: u16, body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|it| it["error"]["message"].as_str());
    message.map_or_else(|| format!("the broker answered with status {status}"), str::to_owned)
}

pub(super) fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a String does not fail.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
