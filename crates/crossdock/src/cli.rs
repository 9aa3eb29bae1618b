//! The program: arguments, and one module for each command.

mod check;
mod client;
mod import;
mod messages;
mod out;
mod power_cut;
mod serve;
mod show;

use crate::options::{self, Listen, Options};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// One durable message broker that speaks the wires people already use.
#[derive(Debug, Parser)]
#[command(name = "crossdock", version, propagate_version = true, subcommand_required = true)]
#[command(
    after_help = "Without a command it serves: `crossdock --data DIR` is `crossdock serve --data DIR`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the broker (the default)
    #[command(args_override_self = true)]
    Serve(Box<Options>),
    /// Publishes lines, or JSON, from standard input or a file
    Publish(messages::Publish),
    /// Prints messages, and takes them from their queue
    Consume(messages::Consume),
    /// Lists queues, topics or groups
    List(show::List),
    /// Shows one queue, topic or group
    Describe(show::Describe),
    /// Brings definitions and messages from another broker
    Import(import::Import),
    /// Verifies a store that no broker has open; changes nothing unless told to repair
    Check(check::Check),
    /// Undoes what a power cut could have undone at the moment when the broker was killed
    #[command(hide = true)]
    PowerCut(power_cut::PowerCut),
}

/// Which broker a command talks to.
#[derive(Args, Debug)]
struct Remote {
    /// The admin address of the running broker
    #[arg(
        long,
        env = "CROSSDOCK_ADMIN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:15672"
    )]
    admin: String,
    /// The namespace (in AMQP: the virtual host)
    #[arg(long, default_value = "/")]
    namespace: String,
}

/// Why a command failed: its exit code and one line.
#[derive(Debug)]
struct Failed {
    code: u8,
    why: String,
}

impl Failed {
    fn new(why: impl Into<String>) -> Failed {
        Failed { code: 1, why: why.into() }
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let result = parse(std::env::args_os().collect()).and_then(|cli| match cli.command {
        Command::Serve(options) => serve::serve(*options),
        Command::Publish(publish) => messages::publish(&publish),
        Command::Consume(consume) => messages::consume(&consume),
        Command::List(list) => show::list(&list),
        Command::Describe(describe) => show::describe(&describe),
        Command::Import(import) => import::import(&import),
        Command::Check(check) => check::check(&check),
        Command::PowerCut(cut) => power_cut::cut(&cut),
    });
    match result {
        Ok(code) => code,
        Err(Failed { code: 0, why }) => {
            out::print(&why);
            ExitCode::SUCCESS
        }
        Err(Failed { code, why }) => {
            out::complain(&why);
            ExitCode::from(code)
        }
    }
}

/// Reads the arguments, and the configuration file if one is named.
fn parse(arguments: Vec<OsString>) -> Result<Cli, Failed> {
    let arguments = with_command(arguments);
    let cli = Cli::try_parse_from(&arguments).map_err(|error| clap_failed(&error, ""))?;
    let Command::Serve(options) = &cli.command else { return Ok(cli) };
    let Some(file) = options.config.clone() else { return Ok(cli) };
    let flags = options::file::flags(&file).map_err(|why| Failed { code: 2, why })?;
    with_file(&arguments, &flags, &file, &options.listen)
}

/// The arguments with what the file says in front: typed flags come later and win. Of a wire that
/// is among those typed, what the file says about listening does not count.
fn with_file(
    arguments: &[OsString],
    flags: &[String],
    file: &Path,
    typed: &[Listen],
) -> Result<Cli, Failed> {
    let all: Vec<OsString> = flags.iter().map(OsString::from).collect();
    let place = format!("{}: ", file.display());
    let alone = arguments[..2].iter().chain(&all);
    Cli::try_parse_from(alone).map_err(|error| clap_failed(&error, &place))?;
    let replaced = |flag: &&String| {
        let listen = flag.strip_prefix("--listen=").and_then(|text| text.split_once('='));
        listen.is_some_and(|(wire, _)| typed.iter().any(|it| it.wire == wire))
    };
    let kept = flags.iter().filter(|flag| !replaced(flag)).map(OsString::from);
    let all = arguments[..2].iter().cloned().chain(kept).chain(arguments[2..].iter().cloned());
    Cli::try_parse_from(all).map_err(|error| clap_failed(&error, ""))
}

/// Puts `serve` in when no command is named.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).map(OsString::as_os_str);
    let general = ["-h", "--help", "-V", "--version"].map(OsStr::new);
    let option = |it: &OsStr| it.to_string_lossy().starts_with('-') && !general.contains(&it);
    if first.is_none_or(option) {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}

/// What clap says, in one line unless it was asked for help.
fn clap_failed(error: &clap::Error, place: &str) -> Failed {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Failed { code: 0, why: text.trim_end().to_owned() }
        }
        _ => {
            let told: Vec<&str> = text
                .lines()
                .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect();
            let told = told.join(" ");
            let told = told.strip_prefix("error: ").unwrap_or(&told);
            Failed { code: 2, why: format!("{place}{told}; see crossdock --help") }
        }
    }
}

#[cfg(test)]
mod tests;
