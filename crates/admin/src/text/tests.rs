use super::*;
use proptest::prelude::*;

#[test]
fn bytes_that_are_text_are_text() {
    assert_eq!(serde_json::to_string(&Text("a\"b".into())).unwrap(), r#""a\"b""#);
    let binary = Text(Bytes::from_static(&[0xff]));
    assert_eq!(serde_json::to_string(&binary).unwrap(), r#"{"base64":"/w=="}"#);
}

#[test]
fn other_json_is_refused() {
    for json in ["1", "[]", "{}", r#"{"base64":"x"}"#, r#"{"base64":"/w==","more":1}"#, "null"] {
        assert!(serde_json::from_str::<Text>(json).is_err(), "{json}");
    }
}

proptest! {
    #[test]
    fn bytes_come_back(bytes: Vec<u8>) {
        let text = Text(bytes.into());
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
    }
}
