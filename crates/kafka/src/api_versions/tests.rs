use super::*;

fn request(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: version.to_owned(),
    }
}

#[test]
fn every_api_but_authentication_is_told_with_its_versions() {
    let response = api_versions(&request("librdkafka", "2.15.0"), 3);
    assert_eq!(response.error_code, ErrorCode::NONE);
    let ranges: Vec<_> = response
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    assert_eq!(ranges[..3], [(0, 0, 13), (1, 4, 18), (2, 1, 10)]);
    assert_eq!(ranges.len(), APIS.len() - 2);
    assert!(!ranges.iter().any(|(key, ..)| [17, 36].contains(key)), "no authentication is offered");
}

#[test]
fn a_client_must_have_a_name_once_it_tells_one() {
    for (name, version, legal) in [
        ("apache-kafka-java", "4.1.0", true),
        ("a", "1", true),
        ("", "1", false),
        ("a", "", false),
        ("-a", "1", false),
        ("a b", "1", false),
        ("a", "1.", false),
        ("kä", "1", false),
    ] {
        let code = api_versions(&request(name, version), 3).error_code;
        let want = if legal { ErrorCode::NONE } else { ErrorCode::INVALID_REQUEST };
        assert_eq!(code, want, "{name:?} {version:?}");
        assert_eq!(api_versions(&request(name, version), 2).error_code, ErrorCode::NONE);
    }
}

#[test]
fn a_version_too_new_is_told_the_versions_of_this_api() {
    let response = api_versions_too_new();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(response.api_keys, [ApiVersion { api_key: 18, min_version: 0, max_version: 4 }]);
}
