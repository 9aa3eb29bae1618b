//! `crossdock serve`: start, run, stop.

use super::{Failed, out};
use crate::options::Options;
use crate::{Broker, Listening, broker};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Threads for sockets; the engine has its own.
const SOCKET_THREADS: usize = 2;

/// Tasks are state machines and the stack only runs them.
const STACK_BYTES: usize = 512 << 10;

pub(super) fn serve(options: Options) -> Result<ExitCode, Failed> {
    log(&options);
    #[cfg(plant)]
    plant()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SOCKET_THREADS)
        .thread_stack_size(STACK_BYTES)
        .thread_name("socket")
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("cannot start threads: {error}")))?;
    runtime.block_on(run(options))
}

async fn run(options: Options) -> Result<ExitCode, Failed> {
    let failed = |error: std::io::Error| Failed::new(format!("cannot take signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let data = broker::absolute(&options.data);
    let opening = Broker::open(options);
    let broker = opening.await.map_err(|error| Failed::new(error.to_string()))?;
    let version = env!("CARGO_PKG_VERSION");
    out::print(&format!("crossdock {version}, a message broker"));
    out::print(&format!("data   {}", data.display()));
    for Listening { wire, addresses } in broker.listening() {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        out::print(&format!("{wire:<6} {}", addresses.join(" ")));
    }
    if !broker.findings().is_empty() {
        let count = broker.findings().len();
        out::complain(&format!(
            "the store is damaged in {count} places; `crossdock check` lists them"
        ));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = broker.stop() => Ok(ExitCode::SUCCESS),
        // Whoever asks twice does not want to wait.
        _ = terminate.recv() => Err(Failed::new("stopped at once")),
        _ = interrupt.recv() => Err(Failed::new("stopped at once")),
    }
}

/// Plants the fault that `CROSSDOCK_PLANT` names, so that a test can be seen to find it.
#[cfg(plant)]
fn plant() -> Result<(), Failed> {
    match std::env::var("CROSSDOCK_PLANT") {
        Ok(name) if !io::plant(&name) => Err(Failed::new(format!("there is no fault {name}"))),
        _ => Ok(()),
    }
}

/// Logs to standard error, panics among the rest.
fn log(options: &Options) {
    tracing_subscriber::fmt()
        .with_max_level(options.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(thread = name, place, why, "panic: a bug in crossdock");
    }));
}
