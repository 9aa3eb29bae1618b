//! The same changes give the same bytes, and the bytes give the same catalog.

use crate::catalog::{Catalog, Layer};
use crate::change::{Action, Bind, Change, ConfigChange, DeclareQueue, DeclareRouter, DeleteQueue};
use crate::entry::{Destination, RouterKind, TopicId};
use crate::value::Value;
use crate::world::{
    arguments, binding, bytes, config, delete_queue, delete_router, name, owner, router, text,
};
use crate::{
    Config, DeclareTopic, HashAlgorithm, PasswordHash, Pattern, Permission, PutUser, QueueOptions,
    TopicPermission,
};
use proptest::prelude::*;
use types::{Millis, ShardId};

const SHARDS: [ShardId; 3] = [ShardId(0), ShardId(1), ShardId(2)];

fn a_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "a.b", "a_b", "amq.x", "amq.topic", ""])
        .prop_map(str::to_owned)
}

fn an_id() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(|id| TopicId(id.to_be_bytes()))
}

fn a_bind() -> impl Strategy<Value = Bind> {
    let key = prop::sample::select(vec!["", "a", "a.*", "#", "a.#.b"]);
    (a_name(), a_name(), any::<bool>(), key, any::<bool>()).prop_map(
        |(source, to, queue, key, argument)| {
            let to = name(&to);
            let to = if queue { Destination::Queue(to) } else { Destination::Router(to) };
            let given = if argument { arguments(&[("h", text("v"))]) } else { Vec::new() };
            Bind { arguments: given, ..binding(&source, to, key) }
        },
    )
}

fn a_queue() -> impl Strategy<Value = DeclareQueue> {
    (a_name(), an_id(), any::<[bool; 3]>(), 0..3_u64).prop_map(|(it, id, flags, client)| {
        DeclareQueue {
            name: name(&it),
            id,
            durable: flags[0],
            exclusive: (client > 0).then(|| owner(client)),
            auto_delete: flags[1],
            server_named: flags[2],
            arguments: arguments(&[("x-max-length", Value::I64(5))]),
            options: QueueOptions { max_len: Some(5), ..QueueOptions::default() },
        }
    })
}

fn a_router() -> impl Strategy<Value = DeclareRouter> {
    let kinds =
        vec![RouterKind::Direct, RouterKind::Fanout, RouterKind::Topic, RouterKind::Headers];
    (a_name(), prop::sample::select(kinds), any::<bool>()).prop_map(|(it, kind, auto_delete)| {
        DeclareRouter { auto_delete, alternate: Some(name("a")), ..router(&it, kind) }
    })
}

fn a_user() -> impl Strategy<Value = Action> {
    (a_name(), 0..6).prop_map(|(it, what)| {
        let (user, router) = (name(&it), name("amq.topic"));
        match what {
            0 | 1 => {
                let password = PasswordHash::new(HashAlgorithm::Sha256, &it, *b"salt");
                Action::PutUser(PutUser { name: user, password, tags: vec![router] })
            }
            2 => Action::Permit { user, permission: Permission::all() },
            3 => Action::Forbid { user },
            4 => {
                let permission = TopicPermission { write: Pattern::all(), read: Pattern::all() };
                Action::PermitKeys { user, router, permission }
            }
            _ => Action::DeleteUser { name: user },
        }
    })
}

fn a_topic() -> impl Strategy<Value = DeclareTopic> {
    (a_name(), an_id(), 0..4_u32).prop_map(|(it, id, partitions)| DeclareTopic {
        name: name(&it),
        id,
        partitions,
        config: Config::default(),
    })
}

fn an_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => Just(Action::DeclareNamespace),
        1 => Just(Action::DeleteNamespace),
        4 => a_topic().prop_map(Action::DeclareTopic),
        1 => a_name().prop_map(|it| Action::DeleteTopic { name: name(&it) }),
        2 => (a_name(), 0..9_u32)
            .prop_map(|(it, total)| Action::AddPartitions { name: name(&it), total }),
        2 => a_name().prop_map(|it| Action::AlterConfig {
            name: name(&it),
            change: ConfigChange::Replace(config(&[("retention.ms", "1")])),
        }),
        2 => (a_name(), a_name()).prop_map(|(topic, it)| Action::DeclareSubscription {
            topic: name(&topic),
            name: name(&it),
        }),
        1 => (a_name(), a_name()).prop_map(|(topic, it)| Action::DeleteSubscription {
            topic: name(&topic),
            name: name(&it),
        }),
        6 => a_queue().prop_map(Action::DeclareQueue),
        2 => a_name().prop_map(|it| delete_queue(&it, None)),
        6 => a_router().prop_map(Action::DeclareRouter),
        1 => (a_name(), any::<bool>()).prop_map(|(it, unused)| delete_router(&it, unused)),
        12 => a_bind().prop_map(Action::Bind),
        4 => a_bind().prop_map(Action::Unbind),
        1 => (1..3_u64).prop_map(|client| Action::RemoveClient(owner(client))),
        4 => a_user(),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let namespace = prop::sample::select(vec!["/", "/", "/", "n"]);
    prop::collection::vec(
        (namespace, an_action()).prop_map(|(namespace, action)| Change::new(namespace, action)),
        0..60,
    )
}

proptest! {
    #[test]
    fn equal_changes_give_equal_bytes_and_bytes_give_the_catalog_back(
        before in changes(),
        after in changes(),
    ) {
        let mut one = Catalog::new(Layer::Shared, &SHARDS);
        let mut other = Catalog::new(Layer::Shared, &SHARDS);
        for (at, change) in (0..).zip(&before) {
            prop_assert_eq!(one.apply(change, Millis(at)), other.apply(change, Millis(at)));
        }
        let stored = bytes(&one);
        prop_assert_eq!(&stored, &bytes(&other));

        let mut read: Catalog = postcard::from_bytes(&stored).unwrap();
        prop_assert_eq!(&stored, &bytes(&read));
        for change in &after {
            prop_assert_eq!(one.apply(change, Millis(99)), read.apply(change, Millis(99)));
        }
        prop_assert_eq!(bytes(&one), bytes(&read));
    }

    #[test]
    fn a_change_survives_its_encoding(changes in changes()) {
        let encoded = postcard::to_allocvec(&changes).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Vec<Change>>(&encoded).unwrap(), changes);
    }

    #[test]
    fn damaged_bytes_do_no_harm(
        changes in changes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut catalog = Catalog::new(Layer::Shared, &SHARDS);
        for change in &changes {
            let _ = catalog.apply(change, Millis(0));
        }
        let mut stored = bytes(&catalog);
        for (at, byte) in damage {
            let at = at.index(stored.len());
            stored[at] = byte;
        }
        if let Ok(mut read) = postcard::from_bytes::<Catalog>(&stored) {
            for change in &changes {
                let _ = read.apply(change, Millis(0));
            }
        }
    }
}

#[test]
fn numbers_run_out_before_they_are_reused() {
    let mut catalog = Catalog::new(Layer::Local, &[ShardId::LOCAL]);
    catalog.next.log = u32::MAX;
    let declare = DeclareQueue {
        name: name("q"),
        id: TopicId([1; 16]),
        durable: false,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Vec::new(),
        options: QueueOptions::default(),
    };
    let change = Change::new("/", Action::DeclareQueue(declare));
    let refused = catalog.apply(&change, Millis(0)).0;
    assert!(matches!(refused, Err(crate::Refusal::TooMany { .. })), "{refused:?}");
    let delete = DeleteQueue { name: name("q"), by: None, only: None };
    let gone = catalog.apply(&Change::new("/", Action::DeleteQueue(delete)), Millis(0)).0;
    assert!(matches!(gone, Err(crate::Refusal::NotFound { .. })));
}

#[test]
fn bytes_that_contradict_themselves_are_not_read() {
    let spoilt = |spoil: fn(&mut Catalog)| {
        let mut catalog = Catalog::new(Layer::Shared, &SHARDS);
        spoil(&mut catalog);
        postcard::from_bytes::<Catalog>(&bytes(&catalog)).is_err()
    };
    assert!(!spoilt(|_| {}));
    assert!(spoilt(|catalog| catalog.shards.clear()));
    assert!(spoilt(|catalog| catalog.names.group_slots = [].into()));
    assert!(spoilt(|catalog| catalog.next.log = u32::MAX));
    assert!(spoilt(|catalog| catalog.layer = Layer::Local));
}
