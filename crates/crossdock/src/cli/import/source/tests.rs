use super::*;

#[test]
fn star_stands_for_anything() {
    for (pattern, name, fits) in [
        ("orders", "orders", true),
        ("orders", "orders2", false),
        ("orders*", "orders.eu", true),
        ("*.eu", "orders.eu", true),
        ("*.eu", "orders.eu.x", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c", false),
        ("a*a", "a", false),
        ("*", "", true),
    ] {
        assert_eq!(is_match(pattern, name), fits, "{pattern} {name}");
    }
}

fn document() -> Value {
    json!({
        "users": [{"name": "u"}],
        "vhosts": [{"name": "/"}, {"name": "team"}],
        "queues": [
            {"name": "a", "vhost": "/", "auto_delete": false, "arguments": {}},
            {"name": "b", "vhost": "/", "auto_delete": true, "arguments": {}},
            {"name": "a", "vhost": "team", "auto_delete": false,
             "arguments": {"x-queue-type": "stream"}},
        ],
        "exchanges": [{"name": "x", "vhost": "team"}],
    })
}

#[test]
fn queues_are_chosen_by_virtual_host_and_name() {
    let told = |chosen: &Chosen| {
        let queues = chosen.queues(&document()).into_iter();
        let line = |(vhost, list): (String, Vec<Queue>)| {
            list.into_iter().map(move |it| (vhost.clone(), it.name, it.is_stream, it.auto_delete))
        };
        queues.flat_map(line).collect::<Vec<_>>()
    };
    let (a, b, other) = (
        ("/".to_owned(), "a".to_owned(), false, false),
        ("/".to_owned(), "b".to_owned(), false, true),
        ("team".to_owned(), "a".to_owned(), true, false),
    );
    assert_eq!(told(&Chosen::default()), [a.clone(), b.clone(), other.clone()]);
    let one = Chosen { vhosts: vec!["team".into()], ..Chosen::default() };
    assert_eq!(told(&one), [other]);
    let two = Chosen { except: vec!["a*".into()], ..Chosen::default() };
    assert_eq!(told(&two), [b]);
    let both = Chosen { vhosts: vec!["/".into()], queues: vec!["a".into()], ..Chosen::default() };
    assert_eq!(told(&both), [a]);
}

#[test]
fn definitions_of_other_virtual_hosts_are_left_out() {
    let one = Chosen { vhosts: vec!["/".into()], ..Chosen::default() };
    let narrowed = one.narrowed(&document());
    assert_eq!(narrowed["vhosts"], json!([{"name": "/"}]));
    assert_eq!(narrowed["queues"].as_array().map(Vec::len), Some(2));
    assert_eq!((&narrowed["exchanges"], &narrowed["users"]), (&json!([]), &json!([{"name": "u"}])));
}
