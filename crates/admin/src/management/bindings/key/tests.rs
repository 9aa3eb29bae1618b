use super::*;
use engine::catalog::Value;

fn key(routing_key: &str) -> String {
    Key::of(routing_key, &Vec::new()).to_string()
}

#[test]
fn a_key_is_spelled_as_rabbitmq_spells_it() {
    assert_eq!(key("a.#"), "a.%23");
    assert_eq!(key(""), "~");
    assert_eq!(key("k k/~"), "k+k%2F%7E");
}

#[test]
fn what_a_path_says_is_the_binding_it_came_from() {
    let arguments = vec![("h".to_owned(), Value::I64(1))];
    for routing_key in ["a.#", "", "k k/~", "100%", "é"] {
        for arguments in [&Vec::new(), &arguments] {
            let key = Key::of(routing_key, arguments);
            assert_eq!(Key::parse(&key.to_string()), key, "{key}");
        }
    }
    // Decoded by the path already.
    assert_eq!(Key::parse("a.#"), Key::of("a.#", &Vec::new()));
    assert_ne!(Key::of("k", &arguments), Key::of("k", &Vec::new()));
}
