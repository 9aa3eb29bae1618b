use super::*;

fn parsed(text: &str) -> (String, String, String, u16, Option<String>) {
    let at: Address = text.parse().unwrap();
    (at.user, at.password, at.host, at.port, at.vhost)
}

#[test]
fn parts_that_are_left_out_are_the_usual_ones() {
    let guest = |host: &str, port, vhost: Option<&str>| {
        ("guest".into(), "guest".into(), host.into(), port, vhost.map(str::to_owned))
    };
    assert_eq!(parsed("amqp://localhost"), guest("localhost", 5672, None));
    assert_eq!(parsed("amqp://localhost/"), guest("localhost", 5672, None));
    assert_eq!(parsed("amqp://localhost:7/%2F"), guest("localhost", 7, Some("/")));
    assert_eq!(parsed("http://[::1]"), guest("::1", 15672, None));
    let told = ("u:".into(), "p@%".into(), "h".into(), 5, Some("team a".into()));
    assert_eq!(parsed("amqp://u%3a:p%40%25@h:5/team%20a"), told);
}

#[test]
fn what_is_no_address_is_told() {
    for (text, told) in [
        ("localhost:5672", "it has the form amqp://"),
        ("redis://h", "it has the form amqp://"),
        ("amqp://", "it has the form amqp://"),
        ("amqp://h:x", "'x' is no port"),
        ("amqp://h/%2", "'%2' has a % that is no %2F"),
        ("amqps://h", "amqps is not spoken yet: name a port without TLS"),
    ] {
        let why = text.parse::<Address>().unwrap_err();
        assert!(why.starts_with(told), "{text}: {why}");
    }
}

#[test]
fn no_password_is_shown() {
    let at: Address = "amqp://u:secret@[::1]:5".parse().unwrap();
    assert_eq!(format!("{at} {at:?}"), "amqp://[::1]:5 amqp://[::1]:5");
}
