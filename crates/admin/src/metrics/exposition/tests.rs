use super::*;

#[test]
fn a_page_is_what_prometheus_reads() {
    let mut page = Exposition::default();
    page.gauge("depth", "How deep.").sample(&[("queue", "a\"b\\c\nd"), ("node", "1")], 3);
    page.counter("seen_total", "How many.").sample(&[], 4);
    let mut syncs = page.histogram("sync_seconds", "How long.");
    syncs.bucket("0.001", 2);
    syncs.close(0.5, 3);
    assert_eq!(
        page.finish(),
        r#"# HELP depth How deep.
# TYPE depth gauge
depth{queue="a\"b\\c\nd",node="1"} 3
# HELP seen_total How many.
# TYPE seen_total counter
seen_total 4
# HELP sync_seconds How long.
# TYPE sync_seconds histogram
sync_seconds_bucket{le="0.001"} 2
sync_seconds_bucket{le="+Inf"} 3
sync_seconds_sum 0.5
sync_seconds_count 3
"#
    );
}
