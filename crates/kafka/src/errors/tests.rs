use super::*;
use kafka_protocol::error::ParseResponseErrorCode;

#[test]
fn codes_and_names_are_those_of_the_oracle() {
    let ours: Vec<(i16, String)> =
        CODES.iter().map(|code| (code.0, code.name().replace('_', "").to_lowercase())).collect();
    let theirs: Vec<(i16, String)> = CODES
        .iter()
        .filter(|code| code.0 != 0)
        .map(|code| {
            let error = code.0.err().expect("every code but 0 is an error");
            (code.0, format!("{error:?}").to_lowercase())
        })
        .collect();
    let named: Vec<_> = ours.into_iter().filter(|(code, _)| *code != 0).collect();
    assert_eq!(named, theirs);
}
