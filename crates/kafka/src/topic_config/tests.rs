use super::*;

#[test]
fn the_table_is_in_order_and_its_defaults_are_legal() {
    assert!(TOPIC_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for config in TOPIC_CONFIGS {
        assert_eq!(find(config.name), Some(config));
        assert_eq!(check(config.name, Some(config.default)), Ok(config.default.to_owned()));
    }
}

#[test]
fn values_are_checked_by_type_and_range() {
    for (name, value, legal) in [
        ("retention.ms", "-1", true),
        ("retention.ms", " 1000 ", true),
        ("retention.ms", "-2", false),
        ("retention.ms", "1d", false),
        ("retention.ms", "9223372036854775808", false),
        ("retention.bytes", "0", true),
        ("max.message.bytes", "68157440", true),
        ("max.message.bytes", "68157441", false),
        ("message.timestamp.type", "LogAppendTime", true),
        ("message.timestamp.type", "logappendtime", false),
        ("min.insync.replicas", "2", true),
        ("min.insync.replicas", "0", false),
        ("min.cleanable.dirty.ratio", "0.01", true),
        ("min.cleanable.dirty.ratio", "NaN", false),
        ("preallocate", "yes", false),
        ("segment.ms", "1", true),
        ("no.such.config", "1", false),
        ("message.format.version", "2.8", false),
    ] {
        let checked = check(name, Some(value));
        assert_eq!(checked.is_ok(), legal, "{name}={value}: {checked:?}");
        if let Err(refusal) = checked {
            assert_eq!(refusal.code, ErrorCode::INVALID_CONFIG);
            assert!(refusal.message.contains(name), "{refusal:?}");
        }
    }
    assert!(check("retention.ms", None).is_err());
}

#[test]
fn what_would_change_behaviour_that_is_not_built_is_refused() {
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("remote.storage.enable", "true"),
        ("message.timestamp.after.max.ms", "3600000"),
    ] {
        let refusal = check(name, Some(value)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::INVALID_CONFIG);
        assert!(refusal.message.contains("is not supported by this broker"), "{refusal:?}");
    }
}

#[test]
fn alterations_set_delete_append_and_subtract() {
    let throttled = "leader.replication.throttled.replicas";
    let set = BTreeMap::from([(throttled.to_owned(), "0:1,1:1".to_owned())]);
    let some = |name: &str, value: &str| Ok((name.to_owned(), Some(value.to_owned())));
    for (number, name, value, want) in [
        (0, "retention.ms", Some("5"), some("retention.ms", "5")),
        (1, "retention.ms", None, Ok(("retention.ms".to_owned(), None))),
        (2, throttled, Some("1:1, 2:1"), some(throttled, "0:1,1:1,2:1")),
        (3, throttled, Some("0:1,7:7"), some(throttled, "1:1")),
        (2, "cleanup.policy", Some("delete"), some("cleanup.policy", "delete")),
    ] {
        let alteration = Alteration::from_number(number).unwrap();
        assert_eq!(alter(&set, alteration, name, value), want, "{number} {name}");
    }
    for (number, name, value) in [
        (2, "retention.ms", Some("5")),
        (2, "cleanup.policy", Some("compact")),
        (3, "cleanup.policy", Some("delete")),
        (1, "no.such.config", None),
        (0, "retention.ms", None),
    ] {
        let alteration = Alteration::from_number(number).unwrap();
        let refusal = alter(&set, alteration, name, value).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::INVALID_CONFIG, "{number} {name}");
    }
    assert_eq!(Alteration::from_number(4).unwrap_err().code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn the_document_lists_every_configuration_as_it_is() {
    let document = include_str!("../../../../docs/kafka.md");
    let rows: Vec<&str> =
        document.lines().skip_while(|line| *line != "| name | default | |").skip(2).collect();
    let table: Vec<String> = TOPIC_CONFIGS
        .iter()
        .map(|config| {
            let default = match config.default {
                "" => String::new(),
                text => format!(" `{text}`"),
            };
            let effect = format!("{:?}", config.effect).to_lowercase();
            format!("| `{}` |{default} | {effect} |", config.name)
        })
        .collect();
    assert_eq!(rows, table);
}
