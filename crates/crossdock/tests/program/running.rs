//! A broker in a process of its own, and commands against it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crossdock");

/// The admin side has a free port.
pub(crate) const QUIET: &[&str] = &["--listen=admin=127.0.0.1:0"];

/// A directory of its own, removed when dropped.
pub(crate) struct Scratch(PathBuf);

/// A running broker; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) printed: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The store in it.
    pub(crate) fn store(&self) -> String {
        self.0.join("store").display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program without this process's variables of its own.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CROSSDOCK_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    finish(program().args(arguments), "")
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn finish(command: &mut Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || {
        // A program that fails early reads nothing.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Running {
    /// Starts a broker on `store` with only the admin side listening.
    pub(crate) fn start(store: &str) -> Running {
        Running::start_with(store, QUIET)
    }

    pub(crate) fn start_with(store: &str, arguments: &[&str]) -> Running {
        let mut command = program();
        command.args(["--data", store]).args(OTHERS_OFF).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = Vec::new();
        // The admin side is the last line.
        while printed.last().is_none_or(|line: &String| !line.starts_with("admin ")) {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                panic!("it did not start: {why}");
            }
            printed.push(line.trim_end().to_owned());
        }
        Running { child, stdout, printed }
    }

    /// The addresses that were printed for a wire.
    pub(crate) fn addresses(&self, wire: &str) -> Vec<SocketAddr> {
        let line = self.printed.iter().find(|line| line.split(' ').next() == Some(wire)).unwrap();
        line.split_whitespace().skip(1).map(|address| address.parse().unwrap()).collect()
    }

    /// Runs a command of the program against this broker.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        self.feed(arguments, "")
    }

    /// The same with something on its standard input.
    pub(crate) fn feed(&self, arguments: &[&str], input: &str) -> Ended {
        let admin = self.addresses("admin")[0].to_string();
        finish(program().args(arguments).env("CROSSDOCK_ADMIN", admin), input)
    }

    /// Runs a command that must succeed; gives what it prints.
    pub(crate) fn ok(&self, arguments: &[&str], input: &str) -> String {
        let ended = self.feed(arguments, input);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Sends an HTTP request as it is and gives the whole answer.
    pub(crate) fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addresses("admin")[0]).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a signal to the broker.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; gives its exit code (none after a signal) and what it said on the way.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }

    /// Stops it with SIGTERM.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        assert_eq!(self.end(), (Some(0), String::new()));
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(self) {
        self.signal("KILL");
        assert_eq!(self.end().0, None);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No wire listens unless a test says so.
pub(crate) const OTHERS_OFF: &[&str] = &["--listen=kafka=off", "--listen=amqp=off"];
