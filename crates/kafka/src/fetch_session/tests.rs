use super::*;
use crate::codec::messages::fetch::{FetchTopic, ForgottenTopic};
use bytes::Bytes;

const VERSION: i16 = 11;

/// Requests by session id, epoch, "topic-partition@offset" and "topic-partition" to forget.
fn request(id: i32, epoch: i32, wanted: &[&str], forgotten: &[&str]) -> FetchRequest {
    let topics = wanted.iter().map(|text| {
        let (name, offset) = text.split_once('@').unwrap();
        let (topic, partition) = split(name);
        let fetch_offset = offset.parse().unwrap();
        let partition = FetchPartition { partition, fetch_offset, ..FetchPartition::default() };
        FetchTopic { topic, partitions: vec![partition], ..FetchTopic::default() }
    });
    let forgotten = forgotten.iter().map(|name| {
        let (topic, partition) = split(name);
        ForgottenTopic { topic, partitions: vec![partition], ..ForgottenTopic::default() }
    });
    FetchRequest {
        session_id: id,
        session_epoch: epoch,
        topics: topics.collect(),
        forgotten_topics_data: forgotten.collect(),
        ..FetchRequest::default()
    }
}

fn split(name: &str) -> (String, i32) {
    let (topic, partition) = name.split_once('-').unwrap();
    (topic.to_owned(), partition.parse().unwrap())
}

fn wanted(fetch: &Fetch) -> Vec<String> {
    let text = |one: &Wanted| match &one.topic {
        FetchTopicKey::Name(name) => {
            format!("{name}-{}@{}", one.partition.partition, one.partition.fetch_offset)
        }
        FetchTopicKey::Id(id) => format!("{id}"),
    };
    fetch.wanted.iter().map(text).collect()
}

/// A partition at a high watermark, with or without records.
fn at(high_watermark: i64, bytes: &'static [u8]) -> FetchedPartition {
    let records = Some(Records::whole(Bytes::from_static(bytes)));
    FetchedPartition { high_watermark, log_start_offset: 0, records, ..FetchedPartition::default() }
}

fn told(response: &FetchResponse) -> Vec<String> {
    let mut names = Vec::new();
    for topic in &response.responses {
        for partition in &topic.partitions {
            names.push(format!("{}-{}", topic.topic, partition.partition_index));
        }
    }
    names
}

fn established(sessions: &mut FetchSessions, names: &[&str]) -> i32 {
    let fetch = sessions.begin(&request(0, 0, names, &[]), VERSION).unwrap();
    let results = vec![at(5, b""); fetch.wanted.len()];
    let response = sessions.answer(fetch, results);
    assert_eq!(response.responses.len(), names.len());
    response.session_id
}

#[test]
fn a_full_fetch_without_a_session_tells_all_and_keeps_nothing() {
    let mut sessions = FetchSessions::new(7);
    let fetch = sessions.begin(&request(0, -1, &["a-0@1", "b-1@2"], &[]), VERSION).unwrap();
    let response = sessions.answer(fetch, vec![at(5, b""), at(5, b"")]);
    assert_eq!((response.session_id, told(&response)), (0, vec!["a-0".into(), "b-1".into()]));
    assert_eq!(sessions.count(), 0);
}

#[test]
fn a_session_tells_only_news() {
    let mut sessions = FetchSessions::new(7);
    let id = established(&mut sessions, &["a-0@5", "b-0@5", "c-0@5", "d-0@5"]);
    assert_eq!(id, 7);
    let fetch = sessions.begin(&request(id, 1, &[], &[]), VERSION).unwrap();
    assert_eq!(wanted(&fetch), ["a-0@5", "b-0@5", "c-0@5", "d-0@5"]);
    let failed = FetchedPartition { error_code: ErrorCode::OFFSET_OUT_OF_RANGE, ..at(5, b"") };
    let response = sessions.answer(fetch, vec![at(5, b""), at(6, b"r"), at(6, b""), failed]);
    assert_eq!((response.session_id, response.error_code), (id, ErrorCode::NONE));
    assert_eq!(told(&response), ["b-0", "c-0", "d-0"]);

    let fetch = sessions.begin(&request(id, 2, &["b-0@6"], &[]), VERSION).unwrap();
    assert_eq!(wanted(&fetch), ["a-0@5", "c-0@5", "d-0@5", "b-0@6"], "what gave records goes last");
    let response = sessions.answer(fetch, vec![at(5, b""), at(6, b""), at(5, b""), at(6, b"")]);
    assert_eq!(told(&response), ["d-0"], "an error that is over is news");

    let fetch = sessions.begin(&request(id, 3, &[], &[]), VERSION).unwrap();
    let response = sessions.answer(fetch, vec![at(5, b""), at(6, b""), at(5, b""), at(6, b"")]);
    assert_eq!(told(&response), Vec::<String>::new());
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let mut sessions = FetchSessions::new(1);
    let id = established(&mut sessions, &["a-0@5", "b-0@5"]);
    let change = request(id, 1, &["b-0@9", "c-3@0"], &["a-0", "z-9"]);
    let fetch = sessions.begin(&change, VERSION).unwrap();
    assert_eq!(wanted(&fetch), ["b-0@9", "c-3@0"]);
    let response = sessions.answer(fetch, vec![at(5, b""), at(0, b"")]);
    assert_eq!(told(&response), ["c-3"], "a partition is told once when it is added");
}

#[test]
fn a_session_with_no_partitions_left_ends() {
    let mut sessions = FetchSessions::new(1);
    let id = established(&mut sessions, &["a-0@5"]);
    let fetch = sessions.begin(&request(id, 1, &[], &["a-0"]), VERSION).unwrap();
    assert!(fetch.wanted.is_empty());
    assert_eq!(sessions.answer(fetch, Vec::new()), FetchResponse::default());
    assert_eq!(sessions.count(), 0);
}

#[test]
fn unknown_sessions_and_wrong_epochs_are_refused() {
    let mut sessions = FetchSessions::new(1);
    let id = established(&mut sessions, &["a-0@5"]);
    for (id, epoch, version, code) in [
        (id + 1, 1, VERSION, ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
        (0, 1, VERSION, ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
        (id, 2, VERSION, ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        (id, -2, VERSION, ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        (id, 1, 13, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR),
    ] {
        let refused = sessions.begin(&request(id, epoch, &[], &[]), version);
        assert_eq!(refused, Err(code), "{id} {epoch} {version}");
    }
    assert!(
        sessions.begin(&request(id, 1, &[], &[]), VERSION).is_ok(),
        "a refusal changes nothing"
    );
}

#[test]
fn an_answer_to_a_session_that_moved_on_is_refused() {
    let mut sessions = FetchSessions::new(1);
    let id = established(&mut sessions, &["a-0@5"]);
    let early = sessions.begin(&request(id, 1, &[], &[]), VERSION).unwrap();
    let _late = sessions.begin(&request(id, 2, &[], &[]), VERSION).unwrap();
    let response = sessions.answer(early, vec![at(5, b"")]);
    assert_eq!(response.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
}

#[test]
fn a_full_fetch_replaces_or_closes_the_session_it_names() {
    let mut sessions = FetchSessions::new(1);
    let first = established(&mut sessions, &["a-0@5"]);
    let fetch = sessions.begin(&request(first, 0, &["a-0@5"], &[]), VERSION).unwrap();
    let second = sessions.answer(fetch, vec![at(5, b"")]).session_id;
    assert_ne!(first, second);
    assert_eq!(sessions.count(), 1);
    sessions.begin(&request(second, -1, &[], &[]), VERSION).unwrap();
    assert_eq!(sessions.count(), 0);
}

#[test]
fn the_session_not_used_for_longest_makes_room() {
    let mut sessions = FetchSessions::new(1);
    let ids: Vec<i32> = (0..SESSIONS_MAX).map(|_| established(&mut sessions, &["a-0@5"])).collect();
    sessions.begin(&request(ids[0], 1, &[], &[]), VERSION).unwrap();
    established(&mut sessions, &["a-0@5"]);
    assert_eq!(sessions.count(), SESSIONS_MAX);
    let gone = sessions.begin(&request(ids[1], 1, &[], &[]), VERSION);
    assert_eq!(gone, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    assert!(sessions.begin(&request(ids[0], 2, &[], &[]), VERSION).is_ok());
}

#[test]
fn a_session_never_remembers_more_partitions_than_its_bound() {
    let many = |from: i32, count: usize| -> Vec<FetchTopic> {
        let one = |partition| FetchPartition { partition, ..FetchPartition::default() };
        let partitions = (from..).take(count).map(one).collect();
        vec![FetchTopic { topic: "a".to_owned(), partitions, ..FetchTopic::default() }]
    };
    let mut sessions = FetchSessions::new(1);
    let mut full = request(0, 0, &[], &[]);
    full.topics = many(0, SESSION_PARTITIONS_MAX + 1);
    let fetch = sessions.begin(&full, VERSION).unwrap();
    assert_eq!((fetch.wanted.len(), sessions.count()), (SESSION_PARTITIONS_MAX + 1, 0));

    full.topics = many(0, SESSION_PARTITIONS_MAX);
    let fetch = sessions.begin(&full, VERSION).unwrap();
    let id = sessions.answer(fetch, vec![at(0, b""); SESSION_PARTITIONS_MAX]).session_id;
    let mut more = request(id, 1, &[], &[]);
    more.topics = many(SESSION_PARTITIONS_MAX as i32, 1);
    let fetch = sessions.begin(&more, VERSION).unwrap();
    assert_eq!((fetch.wanted.len(), sessions.count()), (SESSION_PARTITIONS_MAX + 1, 0));
}

#[test]
fn epochs_go_round_without_meeting_the_initial_one() {
    assert_eq!((following(0), following(1), following(i32::MAX)), (1, 2, 1));
    let mut sessions = FetchSessions::new(u32::MAX);
    let ids: Vec<i32> = (0..3).map(|_| established(&mut sessions, &["a-0@5"])).collect();
    assert_eq!(ids, [i32::MAX, 1, 2]);
}
