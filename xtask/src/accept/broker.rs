//! A broker process of a check's own, on loopback ports of its own.

use super::amqp::Amqp;
use super::kafka::Kafka;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a start or a stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker; dropping it kills it.
pub(super) struct Broker {
    child: Child,
    pub(super) kafka: u16,
    pub(super) amqp: u16,
    pub(super) admin: u16,
    pub(super) data: PathBuf,
    /// From the start of the process to the first accepted connection.
    pub(super) started_in: Duration,
}

impl Broker {
    /// Starts the broker on `data`.
    pub(super) fn start(ground: &Ground, data: &Path) -> Result<Broker> {
        Broker::start_under(ground, data, &[])
    }

    /// Starts the broker with more options.
    pub(super) fn start_with(ground: &Ground, data: &Path, options: &[&str]) -> Result<Broker> {
        Broker::launch(ground, data, &[], options)
    }

    /// Starts the broker under another program, as `strace ARGUMENTS…`.
    pub(super) fn start_under(ground: &Ground, data: &Path, wrapper: &[&str]) -> Result<Broker> {
        Broker::launch(ground, data, wrapper, &[])
    }

    /// Starts the broker under another program if one is given, with more options.
    pub(super) fn launch(
        ground: &Ground,
        data: &Path,
        wrapper: &[&str],
        options: &[&str],
    ) -> Result<Broker> {
        let (kafka, amqp, admin) = (free_port()?, free_port()?, free_port()?);
        let mut command = match wrapper {
            [] => Command::new(&ground.binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&ground.binary);
                command
            }
        };
        command.args(["serve", "--data"]).arg(data).args(options);
        for (wire, port) in [("kafka", kafka), ("amqp", amqp), ("admin", admin)] {
            command.arg(format!("--listen={wire}=127.0.0.1:{port}"));
        }
        let log = std::fs::File::create(data.with_extension("log")).context("cannot log")?;
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let data = data.to_path_buf();
        let mut broker = Broker { child, kafka, amqp, admin, data, started_in: Duration::ZERO };
        broker.await_port(amqp)?;
        broker.started_in = start.elapsed();
        broker.await_port(kafka)?;
        broker.await_port(admin)?;
        Ok(broker)
    }

    fn await_port(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended at its start ({status}): {}", self.log());
            }
            if start.elapsed() > PATIENCE {
                bail!("the broker does not listen: {}", self.log());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The end of what it printed.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    /// A line of `/proc/PID/status` in kilobytes, of the broker itself.
    pub(super) fn status_kb(&self, name: &str) -> Result<u64> {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number =
            line.and_then(|line| line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().ok());
        number.with_context(|| format!("no {name} of process {pid}"))
    }

    /// Bytes it has had written to disks, by `/proc/PID/io`.
    pub(super) fn written_bytes(&self) -> Result<u64> {
        let pid = self.child.id();
        let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|line| line.parse().ok()).with_context(|| format!("no io of process {pid}"))
    }

    /// All that it printed.
    pub(super) fn printed(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// The exit code of a broker that is to end by itself; `None` when a signal ended it.
    pub(super) fn end(&mut self) -> Result<Option<i32>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if start.elapsed() > PATIENCE {
                bail!("the broker does not end: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().context("cannot signal").map(drop)
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The value of a metric without labels.
    pub(super) fn metric(&self, name: &str) -> Result<u64> {
        let text = self.http("GET", "/metrics", "")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("there is no metric {name}"))?;
        value.trim().parse().with_context(|| format!("{name} is {value:?}"))
    }

    /// Asks its admin side; gives the body of the answer.
    ///
    /// Fails when the status is no success.
    pub(super) fn http(&self, method: &str, path: &str, body: &str) -> Result<String> {
        http(self.admin, method, path, body)
    }

    /// Stops it as a service manager would; how long that took.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot signal")?;
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("the broker does not stop: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(start.elapsed())
    }

    /// Stops a broker that was started under another program, which ends with it.
    pub(super) fn stop_traced(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            Command::new("kill").args(["-TERM", child]).status().context("cannot signal")?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the admin side at a port; gives the body of the answer.
///
/// Fails when the status is no success.
pub(super) fn http(port: u16, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("no answer to {path}"))?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end")?;
    let is_success = head.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
    anyhow::ensure!(is_success, "{method} {path}: {head} {body}");
    Ok(body.to_owned())
}

/// A port of the loopback address that nothing listens on at this moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Line 1: it starts, and a message goes in by each wire and out by AMQP.
pub(super) fn starts(ground: &Ground) -> Result<Outcome> {
    let broker = Broker::start(ground, &ground.directory("starts")?.join("data"))?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare("greetings")?;
    amqp.confirm()?;
    amqp.publish("greetings", b"by AMQP")?;
    amqp.await_confirms(1)?;
    let mut kafka = Kafka::connect(broker.kafka)?;
    kafka.create_by_asking("greetings-of-kafka")?;
    kafka.produce("greetings-of-kafka", b"by Kafka")?;
    amqp.consume("greetings", 10)?;
    let (_, body) = amqp.delivery()?;
    let stopped_in = broker.stop()?;
    let holds = body == b"by AMQP" && stopped_in <= Duration::from_secs(1);
    Ok(Outcome::of(holds, format!("stopped in {} ms", stopped_in.as_millis())))
}
