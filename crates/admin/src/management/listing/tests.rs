use super::*;

fn items() -> Vec<Value> {
    vec![
        json!({"name": "Abc", "messages": 2, "stats": {"rate": 0.5, "x": 1}}),
        json!({"name": "abd", "messages": 10}),
        json!({"name": "x1"}),
    ]
}

fn listing(query: Value) -> Listing {
    serde_json::from_value(query).unwrap()
}

fn names(query: Value) -> Vec<String> {
    let Json(listed) = listing(query).of(items()).unwrap();
    let list = listed.get("items").unwrap_or(&listed).as_array().unwrap().clone();
    list.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_are_looked_at_with_a_page_only() {
    assert_eq!(names(json!({"name": "ab"})), ["Abc", "abd", "x1"]);
    assert_eq!(names(json!({"name": "AB", "page": "1"})), ["Abc", "abd"]);
    assert_eq!(names(json!({"name": "^X", "page": "1", "use_regex": "true"})), ["x1"]);
    assert_eq!(names(json!({"name": "^X", "page": "1"})), Vec::<String>::new());
}

#[test]
fn pages_tell_what_is_there() {
    let Json(page) = listing(json!({"page": "2", "page_size": "2"})).of(items()).unwrap();
    for (field, is) in [("total_count", 3), ("filtered_count", 3), ("item_count", 1)] {
        assert_eq!(page[field], is, "{field}");
    }
    for (field, is) in [("page", 2), ("page_size", 2), ("page_count", 2)] {
        assert_eq!(page[field], is, "{field}");
    }
    assert!(listing(json!({"page": "1", "name": "no"})).of(items()).is_ok());
    for wrong in [
        json!({"page": "0"}),
        json!({"page": "a"}),
        json!({"page": "2"}),
        json!({"page": "1", "page_size": "501"}),
        json!({"page": "1", "page_size": "0"}),
        json!({"page": "1", "name": "(", "use_regex": "true"}),
        json!({"page": "9999999999999999999", "page_size": "500"}),
    ] {
        assert!(listing(wrong.clone()).of(items()).is_err(), "{wrong}");
    }
}

#[test]
fn order_and_columns() {
    assert_eq!(names(json!({"sort": "messages"})), ["x1", "Abc", "abd"]);
    assert_eq!(names(json!({"sort": "name", "sort_reverse": "true"})), ["x1", "abd", "Abc"]);
    let Json(list) = listing(json!({"columns": "name,stats.rate,none"})).of(items()).unwrap();
    assert_eq!(list[0], json!({"name": "Abc", "stats": {"rate": 0.5}}));
    assert_eq!(list[2], json!({"name": "x1"}));
}
