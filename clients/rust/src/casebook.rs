//! Runs cases under a deadline and prints what came of each as a JSON line.

use std::{future::Future, pin::Pin, time::Duration};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How a case ends: with nothing to say, or with the reason it failed.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub type Body = fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub struct Case {
    pub name: &'static str,
    pub restart: bool,
    pub body: Body,
}

const CASE_MAX: Duration = Duration::from_secs(60);
const RESTART_MAX: Duration = Duration::from_secs(180);

/// Fails the case when both differ.
#[macro_export]
macro_rules! same {
    ($found:expr, $wanted:expr) => {{
        let (found, wanted) = (&$found, &$wanted);
        if found != wanted {
            return Err(format!("line {}: {found:?} instead of {wanted:?}", line!()).into());
        }
    }};
}

/// The cases of these async functions; `: true` for those that restart the server.
#[macro_export]
macro_rules! cases {
    ($($name:ident $(: $restart:literal)?),* $(,)?) => {
        vec![$(Case {
            name: stringify!($name),
            restart: false $(|| $restart)?,
            body: || Box::pin($name()),
        }),*]
    };
}

pub fn unique(name: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{name}-{random:016x}")
}

/// Returns when the server was stopped, started again and accepts connections.
pub async fn restart_server() -> Outcome {
    let mut control = tokio::net::TcpStream::connect(std::env::var("CONTROL")?).await?;
    control.write_all(b"restart\n").await?;
    let mut answer = String::new();
    control.read_to_string(&mut answer).await?;
    same!(answer.trim(), "ok");
    Ok(())
}

pub async fn run(cases: Vec<Case>, arguments: &[String]) {
    let restart = arguments.iter().any(|argument| argument == "--restart");
    let list = arguments.iter().any(|argument| argument == "--list");
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).map_or("", String::as_str);
    for case in cases {
        if case.restart != restart || !case.name.contains(only) {
            continue;
        }
        if list {
            println!("{}", json!({"case": case.name}));
            continue;
        }
        let began = std::time::Instant::now();
        let limit = if case.restart { RESTART_MAX } else { CASE_MAX };
        let running = tokio::spawn((case.body)());
        let (result, detail) = match tokio::time::timeout(limit, running).await {
            Ok(Ok(Ok(()))) => ("passed", String::new()),
            Ok(Ok(Err(error))) => ("failed", error.to_string()),
            Ok(Err(panic)) => ("failed", panic.to_string()),
            Err(_) => ("failed", "did not end in time".to_owned()),
        };
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({"case": case.name, "result": result, "seconds": seconds, "detail": detail})
        );
    }
}
