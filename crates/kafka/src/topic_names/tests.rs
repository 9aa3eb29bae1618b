use super::*;

#[test]
fn names_are_legal_as_in_apache_kafka() {
    let longest = "a".repeat(249);
    for name in ["a", "...", "._-", "Orders.v1_eu-west", "0", &longest] {
        assert_eq!(check_topic_name(name), Ok(()), "{name}");
    }
    let long = "a".repeat(250);
    for (name, fault) in [
        ("", "the empty string is not allowed"),
        (".", "'.' is not allowed"),
        ("..", "'..' is not allowed"),
        ("a b", "contains one or more characters other than"),
        ("a/b", "contains one or more characters other than"),
        ("ä", "contains one or more characters other than"),
        ("a\0", "contains one or more characters other than"),
        (&long, "is longer than the max allowed length 249"),
    ] {
        let refused = check_topic_name(name).unwrap_err();
        assert!(refused.starts_with("Topic name is invalid: "), "{refused}");
        assert!(refused.contains(fault), "{refused}");
    }
}
