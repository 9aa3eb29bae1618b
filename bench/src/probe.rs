//! Clocks, CPU and memory of processes, payloads with time stamps, and the report.

use crate::Args;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Ticks a second in `/proc/PID/stat`; the kernel's ABI fixes it.
const TICKS: f64 = 100.0;

/// A sender this far behind its schedule stamps its messages with the time they were due.
const LATE_NS: u64 = 2_000_000;

/// Nanoseconds since the first call.
#[expect(clippy::disallowed_methods, reason = "a driver measures the machine's own time")]
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// CPU seconds of a process, user and system.
fn cpu_seconds(pid: &str) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let (_, rest) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = |field| rest.split_whitespace().nth(field).and_then(|word| word.parse().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS
}

fn peak_rss_kb(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

/// A body of the wanted size: 16 hex digits for the time stamp, then letters.
pub fn payload(size: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut letter = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        b'a' + (seed % 26) as u8
    };
    let mut body: Vec<u8> = (0..size).map(|_| letter()).collect();
    stamp(&mut body, 0);
    body
}

pub fn stamp(body: &mut [u8], time: u64) {
    for (index, digit) in body[..16].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[((time >> (4 * index)) & 15) as usize];
    }
}

pub fn read_stamp(body: &[u8]) -> u64 {
    let digits = body.iter().take(16);
    digits
        .fold(0, |time, digit| (time << 4) | u64::from((*digit as char).to_digit(16).unwrap_or(0)))
}

/// The stamp of an open-loop sender: now, unless it is late, when the wait counts too.
pub fn open_loop_stamp(due: u64) -> u64 {
    let now = now_ns();
    if now > due + LATE_NS { due } else { now }
}

/// Waits until `due`.
pub fn pace(due: u64) {
    let now = now_ns();
    if due > now {
        std::thread::sleep(Duration::from_nanos(due - now));
    }
}

/// Nanoseconds of one crc32c over 64 KiB: how fast this core runs just now.
fn calibrate() -> f64 {
    let bytes = vec![1u8; 65_536];
    let once = || {
        let start = now_ns();
        for _ in 0..4 {
            std::hint::black_box(crc32c::crc32c(std::hint::black_box(&bytes)));
        }
        now_ns() - start
    };
    (0..400).map(|_| once()).min().expect("400 of them") as f64 / 4.0
}

/// Takes the figures of one run; `--server-pids 1,2` names the server's processes.
pub struct Meter {
    calibration_ns: f64,
    start_ns: u64,
    driver_cpu: f64,
    server_cpu: f64,
    server_pids: Vec<String>,
}

impl Meter {
    pub fn start(args: &Args) -> Meter {
        let pids = args.text("server-pids", "");
        let server_pids: Vec<String> =
            pids.split(',').filter(|pid| !pid.is_empty()).map(String::from).collect();
        let calibration_ns = calibrate();
        Meter {
            calibration_ns,
            driver_cpu: cpu_seconds("self"),
            server_cpu: server_pids.iter().map(|pid| cpu_seconds(pid)).sum(),
            server_pids,
            start_ns: now_ns(),
        }
    }

    /// Prints the JSON line; `latencies`: nanoseconds a message, or empty.
    pub fn report(&self, driver: &str, args: &Args, messages: u64, latencies: &mut [u64]) {
        let seconds = (now_ns() - self.start_ns) as f64 / 1e9;
        let driver_cpu = cpu_seconds("self") - self.driver_cpu;
        let server_cpu =
            self.server_pids.iter().map(|pid| cpu_seconds(pid)).sum::<f64>() - self.server_cpu;
        let peak_kb: f64 = self.server_pids.iter().map(|pid| peak_rss_kb(pid)).sum();
        let millions = messages as f64 / 1e6;
        let mut line = String::new();
        write!(
            line,
            "{{\"driver\":\"{driver}\",\"mode\":\"{}\",\"size\":{},\"messages\":{messages},\
             \"seconds\":{seconds:.3},\"per_second\":{:.0},\"driver_cpu\":{:.3},\
             \"server_cpu\":{:.3},\"server_peak_mb\":{:.1},\"calibration_ns\":{:.0}",
            args.mode(),
            args.size(),
            messages as f64 / seconds,
            driver_cpu / millions,
            server_cpu / millions,
            peak_kb / 1024.0,
            self.calibration_ns,
        )
        .expect("a string takes all");
        if !latencies.is_empty() {
            latencies.sort_unstable();
            for (name, part) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
                let place = (latencies.len() as f64 * part) as usize;
                let value = latencies[place.min(latencies.len() - 1)] as f64 / 1e3;
                write!(line, ",\"{name}\":{value:.0}").expect("a string takes all");
            }
        }
        println!("{line}}}");
    }
}
