//! One connection's task: moves bytes between a socket and a [`Connection`].

use crate::registry::Entry;
use crate::server::{Counters, Phase};
use crate::{Connection, Door};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};
use types::Millis;

/// Slices given to one `writev`.
const SLICES: usize = 64;

/// How long a closed connection waits for the client to read what was said last.
const LINGER: Duration = Duration::from_millis(300);

/// Further than any session looks ahead; the timer of a session that set none.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a connection's task works with beside its socket.
pub(crate) struct Task<'a> {
    pub(crate) connection: Connection,
    pub(crate) door: &'a dyn Door,
    /// Rung by the engine when the outbox is no longer empty.
    pub(crate) bell: &'a Notify,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) counters: &'a Counters,
    pub(crate) entry: &'a Entry,
    pub(crate) start: Instant,
}

/// Why a connection's task woke.
enum Woke {
    Read(io::Result<usize>),
    Events,
    Writable(io::Result<()>),
    Timer,
    /// Memory may not be short any more.
    Memory,
    /// Somebody asks for a report, or wants it to end.
    Asked,
    Phase,
}

impl Task<'_> {
    /// Runs the connection to its end; the socket is closed when this returns.
    pub(crate) async fn run(&mut self, mut stream: TcpStream) {
        // A socket that is gone already fails its first read.
        let _ = stream.set_nodelay(true);
        let (mut reader, mut writer) = stream.split();
        self.connection.open(self.door, self.now());
        if self.serve(&mut reader, &mut writer).await.is_ok() {
            linger(&mut reader, &mut writer).await;
        }
        self.connection.close(self.door, self.now());
    }

    async fn serve(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut sleep = pin!(tokio::time::sleep(FAR));
        let mut set_for = None;
        while !self.connection.finished() {
            if self.connection.deadline() != set_for {
                set_for = self.connection.deadline();
                sleep.as_mut().reset(self.instant(set_for));
            }
            self.connection.count_memory(self.now());
            if self.connection.finished() {
                break;
            }
            let woke = self.wait(reader, writer, sleep.as_mut()).await;
            let now = self.now();
            match woke {
                Woke::Read(count) => {
                    let count = count?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.counters.count_received(count);
                    self.entry.received_bytes.fetch_add(count as u64, Relaxed);
                    self.connection.received(count, self.door, now);
                    if let Some(succeeded) = self.connection.take_login() {
                        self.counters.count_login(succeeded);
                    }
                }
                Woke::Events => self.connection.events(self.door, now),
                Woke::Writable(result) => result?,
                Woke::Timer => {
                    set_for = None;
                    self.connection.timer(self.door, now);
                }
                // The loop looks again.
                Woke::Memory => {}
                Woke::Asked => self.asked(now),
                Woke::Phase => {
                    if *self.phase.borrow_and_update() == Phase::Draining {
                        self.connection.drain(self.door, now);
                    }
                }
            }
            self.write(writer)?;
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &WriteHalf<'_>,
        sleep: Pin<&mut Sleep>,
    ) -> Woke {
        let wants_input = self.connection.wants_input();
        let wants_events = self.connection.wants_events();
        let has_output = self.connection.output_pending() > 0;
        let has_deadline = self.connection.deadline().is_some();
        let memory_wait = self.connection.memory_wait();
        let connection = &mut self.connection;
        // A quiet connection has no buffer: room is made when there is something to read.
        let read = async {
            reader.readable().await?;
            connection.make_room();
            reader.read_buf(connection.input()).await
        };
        tokio::select! {
            () = self.bell.notified(), if wants_events => Woke::Events,
            count = read, if wants_input => Woke::Read(count),
            result = writer.writable(), if has_output => Woke::Writable(result),
            () = sleep, if has_deadline => Woke::Timer,
            () = self.entry.bell.notified() => Woke::Asked,
            () = pause(memory_wait), if memory_wait.is_some() => Woke::Memory,
            Ok(()) = self.phase.changed() => Woke::Phase,
        }
    }

    /// Tells of itself and ends, as it was asked.
    fn asked(&mut self, now: Millis) {
        let asked = self.entry.asked();
        for (whom, why) in &asked.dismissals {
            self.connection.dismiss(whom, why, self.door, now);
        }
        for report in asked.reports {
            // Whoever asked may have gone away.
            let _ = report.send(self.connection.answer());
        }
    }

    /// Writes until everything is out or the socket is full.
    fn write(&mut self, writer: &WriteHalf<'_>) -> io::Result<()> {
        while self.connection.output_pending() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.output(&mut slices);
            match writer.try_write_vectored(&slices[..filled]) {
                Ok(count) => {
                    self.counters.count_sent(count);
                    self.entry.sent_bytes.fetch_add(count as u64, Relaxed);
                    self.connection.written(count, self.door);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn now(&self) -> Millis {
        let passed = Instant::now().saturating_duration_since(self.start);
        Millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self, deadline: Option<Millis>) -> Instant {
        let span = deadline.and_then(|deadline| u64::try_from(deadline.0).ok());
        // The timer's own resolution is a millisecond: ask for the end of it.
        let after = span.map_or(FAR, |span| Duration::from_millis(span).min(FAR));
        if deadline.is_some_and(|deadline| deadline.0 < 0) {
            self.start
        } else {
            self.start + after
        }
    }
}

/// Waits so long; made only where it is waited for.
async fn pause(span: Option<Duration>) {
    tokio::time::sleep(span.unwrap_or(FAR)).await;
}

/// Says that nothing more comes and waits for the client to do the same: closing a socket with
/// unread input would take back what the client has not read yet.
async fn linger(reader: &mut ReadHalf<'_>, writer: &mut WriteHalf<'_>) {
    let _ = writer.shutdown().await;
    let rest = async {
        let mut scrap = vec![0; 4096];
        while matches!(reader.read(&mut scrap).await, Ok(count) if count > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}
