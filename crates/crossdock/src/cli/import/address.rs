//! Where a broker is and who logs in: `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or the same with `http`.

use std::fmt;
use std::str::FromStr;

/// A URL taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Only this virtual host, if the URL has one.
    pub(super) vhost: Option<String>,
}

impl Address {
    /// The same host and user at another port.
    pub(super) fn beside(&self, scheme: &str, port: u16) -> Address {
        Address { scheme: scheme.to_owned(), port, vhost: None, ..self.clone() }
    }

    /// `HOST:PORT`.
    pub(super) fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.place())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let form = "it has the form amqp://USER:PASSWORD@HOST:PORT/VHOST";
        let (scheme, rest) = text.split_once("://").ok_or(form)?;
        let usual = match scheme {
            "amqp" => 5672,
            "http" => 15672,
            "amqps" | "https" => {
                return Err(format!("{scheme} is not spoken yet: name a port without TLS"));
            }
            _ => return Err(form.to_owned()),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (login, place),
            None => ("guest:guest", authority),
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("'{port}' is no port; {form}"))?)
            }
            _ => (place, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(form.to_owned());
        }
        let vhost = match (scheme, path) {
            ("amqp", Some(path)) if !path.is_empty() => Some(unescaped(path)?),
            _ => None,
        };
        Ok(Address {
            scheme: scheme.to_owned(),
            user: unescaped(user)?,
            password: unescaped(password)?,
            host: host.to_owned(),
            port,
            vhost,
        })
    }
}

/// Text with `%2F` and the like.
fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("'{text}' has a % that is no %2F"))?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("'{text}' is no UTF-8"))
}

#[cfg(test)]
mod tests;
