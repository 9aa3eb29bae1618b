//! Metrics in Prometheus' text format.
//!
//! Series with a name of the user's in them are bounded: the first [`NAMED_MAX`] of each kind in
//! the order of their names; `crossdock_series_omitted` counts the others.
//!
//! Source: Prometheus, "Exposition formats", text format 0.0.4.

mod exposition;

use crate::Admin;
use crate::failure::Failure;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engine::api::QueueStats;
use engine::catalog::{Found, Name};
use engine::{POOLS, SYNC_BUCKETS_US};
use exposition::{Exposition, Family};
use std::sync::atomic::Ordering::Relaxed;
use types::LogRef;

/// Most queues, partitions, or positions of groups that have series of their own.
const NAMED_MAX: usize = 2_000;

/// `GET /metrics`
pub(crate) async fn metrics(State(admin): State<Admin>) -> Result<Response, Failure> {
    let mut out = Exposition::default();
    broker(&admin, &mut out);
    wires(&admin, &mut out);
    memory(&admin, &mut out);
    journal(&admin, &mut out);
    let omitted = [
        ("queue", queues(&admin, &mut out).await?),
        ("partition", partitions(&admin, &mut out).await?),
        ("group", groups(&admin, &mut out).await?),
    ];
    let mut family = out.gauge("crossdock_series_omitted", "Series left out, by kind.");
    for (kind, count) in omitted {
        family.sample(&[("kind", kind)], count as u64);
    }
    let kind = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([kind], out.finish()).into_response())
}

fn broker(admin: &Admin, out: &mut Exposition) {
    out.gauge("crossdock_build_info", "The version that runs.")
        .sample(&[("version", admin.about.version)], 1);
    let uptime = admin.engine().now().since(admin.about.started);
    out.gauge("crossdock_uptime_seconds", "Time since the start.")
        .sample(&[], u64::try_from(uptime.0 / 1_000).unwrap_or_default());
}

fn wires(admin: &Admin, out: &mut Exposition) {
    type Read = fn(&frontend::Counters) -> u64;
    let gauges: &[(&str, &str, Read)] =
        &[("crossdock_connections", "Open connections.", |it| it.open() as u64)];
    let counters: &[(&str, &str, Read)] = &[
        ("crossdock_connections_opened_total", "Connections accepted.", |it| it.accepted()),
        ("crossdock_connections_refused_total", "Connections beyond the limit.", |it| it.refused()),
        ("crossdock_received_bytes_total", "Bytes read from sockets.", |it| it.received_bytes()),
        ("crossdock_sent_bytes_total", "Bytes written to sockets.", |it| it.sent_bytes()),
        ("crossdock_session_panics_total", "Sessions that panicked: bugs.", |it| it.panicked()),
    ];
    let fill = |mut family: Family<'_>, read: Read| {
        for wire in admin.wires.iter() {
            family.sample(&[("wire", wire.name)], read(&wire.counters));
        }
    };
    for (name, help, read) in gauges {
        fill(out.gauge(name, help), *read);
    }
    for (name, help, read) in counters {
        fill(out.counter(name, help), *read);
    }
}

fn memory(admin: &Admin, out: &mut Exposition) {
    let memory = admin.engine().memory();
    out.gauge("crossdock_memory_limit_bytes", "What the broker may hold in memory.")
        .sample(&[], memory.limit() as u64);
    let mut used = out.gauge("crossdock_memory_bytes", "What is held, by pool.");
    for (pool, name) in POOLS {
        used.sample(&[("pool", name)], memory.used(pool) as u64);
    }
    let mut budget = out.gauge("crossdock_memory_budget_bytes", "What a pool may hold.");
    for (pool, name) in POOLS {
        budget.sample(&[("pool", name)], memory.budget(pool) as u64);
    }
}

fn journal(admin: &Admin, out: &mut Exposition) {
    let metrics = admin.engine().metrics();
    for (name, help, value) in [
        ("rounds_total", "Rounds written.", &metrics.rounds),
        ("written_bytes_total", "Bytes written, padding included.", &metrics.written_bytes),
        ("frames_total", "Frames written.", &metrics.frames),
        ("cold_reads_total", "Batches read back from the disk.", &metrics.cold_reads),
        ("checkpoints_total", "Checkpoints stored.", &metrics.checkpoints),
        (
            "segments_unzipped_total",
            "Segments that were written again log by log.",
            &metrics.copies.unzipped_segments,
        ),
        ("segments_recycled_total", "Segments given back for reuse.", &metrics.recycled_segments),
        (
            "segments_relocated_total",
            "Segments whose survivors were copied forward.",
            &metrics.copies.relocated_segments,
        ),
    ] {
        let name = format!("crossdock_journal_{name}");
        out.counter(&name, help).sample(&[], value.load(Relaxed));
    }
    for (name, help, value) in [
        ("store_findings_total", "Damaged places found in the store.", &metrics.damage.findings),
        (
            "scrubbed_bytes_total",
            "Stored bytes verified meanwhile.",
            &metrics.damage.scrubbed_bytes,
        ),
        (
            "lost_records_total",
            "Acknowledged records that cannot be read.",
            &metrics.damage.lost_records,
        ),
        (
            "lost_frames_total",
            "Frames passed over to salvage the store.",
            &metrics.damage.lost_frames,
        ),
    ] {
        out.counter(&format!("crossdock_{name}"), help).sample(&[], value.load(Relaxed));
    }
    out.gauge("crossdock_journal_segment_bytes", "Bytes of segments in use.")
        .sample(&[], metrics.space.segment_bytes.load(Relaxed));
    out.gauge("crossdock_disk_free_bytes", "Bytes the disk has left for the journal.")
        .sample(&[], metrics.space.free_bytes.load(Relaxed));
    out.gauge("crossdock_publishing_blocked", "1 while publishing is blocked.")
        .sample(&[], metrics.space.blocked.load(Relaxed));
    let mut syncs = out.histogram("crossdock_journal_sync_seconds", "Durations of syncs.");
    let mut sum = 0;
    for (bound, count) in SYNC_BUCKETS_US.iter().zip(&metrics.sync_buckets) {
        sum += count.load(Relaxed);
        syncs.bucket(&format!("{}", *bound as f64 / 1e6), sum);
    }
    let last = metrics.sync_buckets[SYNC_BUCKETS_US.len()].load(Relaxed);
    syncs.close(metrics.sync_us.load(Relaxed) as f64 / 1e6, sum + last);
}

/// Gives how many were left out.
async fn queues(admin: &Admin, out: &mut Exposition) -> Result<usize, Failure> {
    type Read = fn(&QueueStats) -> u64;
    let stats = admin.stats().await?;
    let names = admin.engine().names();
    let mut named: Vec<([(&str, Name); 3], QueueStats)> = stats
        .values()
        .filter_map(|it| {
            let id = it.subscription.subscription;
            let (namespace, found) = names.find_by_subscription(id)?;
            let own = Name::from("");
            let subscription = match found {
                Found::Queue(_) => own,
                Found::Topic(topic) => {
                    let mut all = topic.subscriptions.iter();
                    all.find(|(_, known)| known.subscription == id).map_or(own, |(n, _)| n.clone())
                }
            };
            let labels = [
                ("namespace", namespace.clone()),
                ("queue", found.name().clone()),
                ("subscription", subscription),
            ];
            Some((labels, *it))
        })
        .collect();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    let omitted = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    let fill = |mut family: Family<'_>, read: Read| {
        for (labels, stats) in &named {
            let labels = labels.each_ref().map(|(label, value)| (*label, &**value));
            family.sample(&labels, read(stats));
        }
    };
    let gauges: &[(&str, &str, Read)] = &[
        ("messages", "Messages held: ready and unacked.", |it| it.counts.ready + it.counts.unacked),
        ("messages_ready", "Messages that could be delivered.", |it| it.counts.ready),
        ("messages_unacked", "Messages leased to consumers.", |it| it.counts.unacked),
        ("messages_kept", "Messages settled and kept.", |it| it.counts.kept),
        ("consumers", "Standing consumers.", |it| it.counts.consumers),
    ];
    let counters: &[(&str, &str, Read)] = &[
        ("messages_published_total", "Messages appended.", |it| it.tally.published),
        ("messages_delivered_total", "Messages handed out.", |it| it.tally.delivered),
        ("messages_acked_total", "Messages settled by consumers.", |it| it.tally.acked),
    ];
    for (name, help, read) in gauges {
        fill(out.gauge(&format!("crossdock_queue_{name}"), help), *read);
    }
    for (name, help, read) in counters {
        fill(out.counter(&format!("crossdock_queue_{name}"), help), *read);
    }
    Ok(omitted)
}

/// Gives how many were left out.
async fn partitions(admin: &Admin, out: &mut Exposition) -> Result<usize, Failure> {
    let names = admin.engine().names();
    let mut logs: Vec<(Name, Name, String, LogRef)> = Vec::new();
    let mut omitted = 0;
    for namespace in names.namespaces() {
        for found in names.list(namespace, None) {
            for (partition, log) in found.logs().iter().enumerate() {
                match logs.len() < NAMED_MAX {
                    true => {
                        let name = found.name().clone();
                        logs.push((namespace.clone(), name, partition.to_string(), *log));
                    }
                    false => omitted += 1,
                }
            }
        }
    }
    let wanted: Vec<LogRef> = logs.iter().map(|(.., log)| *log).collect();
    let extents = admin.extents(&wanted).await?;
    let families = [
        ("crossdock_partition_start_offset", "First retained offset.", 0),
        ("crossdock_partition_end_offset", "Offset the next record gets.", 1),
        ("crossdock_partition_bytes", "Bytes retained.", 2),
    ];
    for (name, help, which) in families {
        let mut family = out.gauge(name, help);
        for (namespace, topic, partition, log) in &logs {
            let Some(extent) = extents.get(log) else { continue };
            let natural = |offset: i64| u64::try_from(offset).unwrap_or_default();
            let values = [natural(extent.start.0), natural(extent.end.0), extent.bytes];
            let labels =
                [("namespace", &**namespace), ("topic", &**topic), ("partition", partition)];
            family.sample(&labels, values[which]);
        }
    }
    Ok(omitted)
}

/// Gives how many were left out.
async fn groups(admin: &Admin, out: &mut Exposition) -> Result<usize, Failure> {
    let names = admin.engine().names();
    let mut omitted = 0;
    let mut written = 0;
    let mut lags = Vec::new();
    let mut members = Vec::new();
    for namespace in names.namespaces() {
        let reports = admin.group_reports(namespace, None).await?;
        let behind = admin.lags(namespace, &reports).await?;
        for (report, behind) in reports.into_iter().zip(behind) {
            if members.len() < NAMED_MAX {
                members.push((namespace.clone(), report.name.clone(), report.view.members.len()));
            }
            for ((key, _), lag) in report.positions.into_iter().zip(behind) {
                let Some(lag) = lag else { continue };
                match written < NAMED_MAX {
                    true => lags.push((namespace.clone(), report.name.clone(), key, lag)),
                    false => omitted += 1,
                }
                written += 1;
            }
        }
    }
    let mut family = out.gauge("crossdock_group_members", "Members of a consumer group.");
    for (namespace, group, count) in &members {
        family.sample(&[("namespace", namespace), ("group", group)], *count as u64);
    }
    let mut family = out.gauge("crossdock_group_lag", "Records behind the end of a partition.");
    for (namespace, group, key, lag) in &lags {
        let partition = key.partition.to_string();
        let labels = [
            ("namespace", &**namespace),
            ("group", &**group),
            ("topic", key.topic.as_str()),
            ("partition", partition.as_str()),
        ];
        family.sample(&labels, u64::try_from(*lag).unwrap_or_default());
    }
    Ok(omitted)
}
