use super::*;
use kafka_protocol::messages::ApiKey as TheirKey;

#[test]
fn keys_ascend_and_are_found() {
    for (at, api) in APIS.iter().enumerate() {
        assert_eq!(find(api.key as i16), Some(&APIS[at]));
        assert!(api.advertised_min <= api.min && api.min <= api.max, "{}", api.name);
    }
    assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert_eq!(find(4), None);
}

#[test]
fn names_and_keys_are_those_of_the_oracle() {
    for api in APIS {
        let theirs = TheirKey::try_from(api.key as i16).expect("an API of Kafka");
        assert_eq!(format!("{theirs:?}"), api.name);
    }
}

#[test]
fn produce_is_advertised_from_0_and_all_else_from_what_is_served() {
    for api in APIS {
        let want = if api.key == ApiKey::Produce { 0 } else { api.min };
        assert_eq!(api.advertised_min, want, "{}", api.name);
    }
}
