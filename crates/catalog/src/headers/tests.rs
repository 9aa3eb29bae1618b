use super::{matches, same};
use crate::value::{Headers, Value};
use crate::world::{arguments, text};
use std::borrow::Cow;
use types::Millis;

struct Listed(Vec<(String, Value)>);

impl Headers for Listed {
    fn header(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.0[..].header(name)
    }
}

type Pairs<'a> = Vec<(&'a str, Value)>;

#[test]
fn bindings_match_headers_by_their_rule() {
    let (a, b) = (("a", text("1")), ("b", Value::I32(2)));
    let x = ("x-c", text("3"));
    let rule = |rule: &str| ("x-match", text(rule));
    let both = [a.clone(), b.clone()];
    let cases: [(Pairs<'_>, Pairs<'_>, bool); 19] = [
        (both.to_vec(), both.to_vec(), true),
        (both.to_vec(), vec![a.clone()], false),
        (vec![rule("all"), a.clone(), b.clone()], vec![b.clone(), a.clone(), x.clone()], true),
        (vec![rule("all"), a.clone(), b.clone()], vec![a.clone()], false),
        (vec![rule("any"), a.clone(), b.clone()], vec![a.clone()], true),
        (vec![rule("any"), a.clone(), b.clone()], vec![x.clone()], false),
        (vec![rule("any"), a.clone()], vec![("a", text("2"))], false),
        (vec![rule("all")], vec![], true),
        (vec![rule("any")], both.to_vec(), false),
        (vec![], both.to_vec(), true),
        (vec![rule("all"), a.clone(), x.clone()], vec![a.clone()], true),
        (vec![rule("all-with-x"), a.clone(), x.clone()], vec![a.clone()], false),
        (vec![rule("all-with-x"), a.clone(), x.clone()], vec![a.clone(), x.clone()], true),
        (vec![rule("any"), a.clone(), x.clone()], vec![x.clone()], false),
        (vec![rule("any-with-x"), a.clone(), x.clone()], vec![x], true),
        (vec![("a", Value::Null)], vec![a.clone()], true),
        (vec![("a", Value::Null)], vec![("a", Value::Null)], true),
        (vec![("a", Value::Null)], vec![b], false),
        (vec![a], vec![("a", Value::Null)], false),
    ];
    for (binding, headers, expected) in cases {
        let found = matches(&arguments(&binding), &Listed(arguments(&headers)));
        assert_eq!(found, expected, "{binding:?} {headers:?}");
    }
}

#[test]
fn values_are_compared_by_what_they_say() {
    let table = |value| Value::Table(vec![("k".to_owned(), value)]);
    let nested = |depth| (0..depth).fold(Value::Null, |value, _| Value::Array(vec![value]));
    let cases = [
        (Value::I8(5), Value::I64(5), true),
        (Value::U32(5), Value::I16(5), true),
        (Value::U8(5), Value::U16(6), false),
        (Value::F32(1.5), Value::F64(1.5), true),
        (Value::F64(f64::NAN), Value::F64(f64::NAN), false),
        (text("a"), Value::Bytes(b"a".to_vec().into()), true),
        (text("5"), Value::I32(5), false),
        (Value::Bool(true), Value::U8(1), false),
        (Value::Timestamp(Millis(5)), Value::Timestamp(Millis(5)), true),
        (table(Value::I8(1)), table(Value::I64(1)), true),
        (table(Value::I8(1)), table(Value::I64(2)), false),
        (
            Value::Array(vec![Value::I8(1), text("a")]),
            Value::Array(vec![Value::I32(1), text("a")]),
            true,
        ),
        (Value::Array(vec![]), Value::Array(vec![Value::Null]), false),
        (nested(20), nested(20), true),
        (nested(60), nested(60), false),
    ];
    for (a, b, expected) in cases {
        assert_eq!(same(&a, &b), expected, "{a:?} {b:?}");
        assert_eq!(same(&b, &a), expected, "{b:?} {a:?}");
    }
}
