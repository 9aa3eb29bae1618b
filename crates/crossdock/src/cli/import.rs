//! `crossdock import rabbitmq`: definitions and messages of a running RabbitMQ.

mod address;
mod bar;
mod content;
mod link;
mod moving;
mod progress;
mod source;
mod target;

use super::{Failed, out, show};
use address::Address;
use bar::Bar;
use clap::{Args, Subcommand};
use link::{Link, Trouble};
use moving::{Moved, Moving, Queue, Temporary};
use progress::Progress;
use serde_json::Value;
use source::Chosen;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use target::Target;

/// The management API's port.
const MANAGEMENT_PORT: u16 = 15672;

#[derive(Args, Debug)]
pub(super) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Definitions and messages of a running RabbitMQ; started again after a stop, it goes on
    Rabbitmq(Box<RabbitMq>),
}

#[derive(Args, Debug)]
struct RabbitMq {
    /// The source: amqp://USER:PASSWORD@HOST:PORT, with /VHOST for one virtual host alone
    url: Address,
    #[command(flatten)]
    how: How,
    /// Only queues of this name, in which * stands for anything; repeatable
    #[arg(long, value_name = "PATTERN")]
    queue: Vec<String>,
    /// Not the queues of this name, in which * stands for anything; repeatable
    #[arg(long, value_name = "PATTERN")]
    except: Vec<String>,
    /// Only this virtual host; repeatable
    #[arg(long, value_name = "NAME")]
    vhost: Vec<String>,
    /// Leave definitions as they are here: every queue has to be there
    #[arg(long, conflicts_with = "definitions_only")]
    no_definitions: bool,
    /// The source's management API: http://HOST:PORT. Unless told otherwise, port 15672 beside it
    #[arg(long, value_name = "URL")]
    management: Option<Address>,
    /// The broker that takes it all, with an administrator's name and password
    #[arg(long, value_name = "URL", default_value = "amqp://guest:guest@127.0.0.1:5672")]
    to: Address,
    /// The admin address of that broker
    #[arg(long, env = "CROSSDOCK_ADMIN", value_name = "HOST:PORT")]
    #[arg(default_value = "127.0.0.1:15672")]
    admin: String,
    /// Instead of a running broker, the store of one that does not run
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Forget what an import before this one has done
    #[arg(long)]
    afresh: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct How {
    /// Take the messages out of the source
    #[arg(long)]
    drain: bool,
    /// Leave the messages in the source
    #[arg(long)]
    copy: bool,
    /// No messages
    #[arg(long)]
    definitions_only: bool,
}

/// A queue's line of the summary.
type Line = (String, String, Result<Moved, String>);

pub(super) fn import(import: &Import) -> Result<ExitCode, Failed> {
    let From::Rabbitmq(given) = &import.from;
    let management = match &given.management {
        None => given.url.beside("http", MANAGEMENT_PORT),
        Some(told) => {
            let (user, password) = (given.url.user.clone(), given.url.password.clone());
            Address { user, password, ..told.clone() }
        }
    };
    let chosen = Chosen {
        vhosts: given.vhost.iter().chain(&given.url.vhost).cloned().collect(),
        queues: given.queue.clone(),
        except: given.except.clone(),
    };
    let definitions = chosen.narrowed(&source::definitions(&management)?);
    let target = match &given.data {
        Some(data) => Target::opened(data, &given.to)?,
        None => Target::running(&given.admin, &given.to),
    };
    let result = bring(given, &chosen, &definitions, &target);
    target.close();
    result
}

fn bring(
    given: &RabbitMq,
    chosen: &Chosen,
    definitions: &Value,
    target: &Target,
) -> Result<ExitCode, Failed> {
    if !given.no_definitions {
        let left_out = target.define(definitions)?;
        tell_definitions(definitions, &left_out);
    }
    if given.how.definitions_only {
        return Ok(ExitCode::SUCCESS);
    }
    let queues = chosen.queues(definitions);
    if queues.is_empty() {
        return Err(Failed::new(
            "no queue of the source is chosen; see --queue, --except, --vhost",
        ));
    }
    let mut bar = Bar::new(count(given, &queues).map_err(lost)?);
    let (mut lines, mut temporaries): (Vec<Line>, Vec<(String, Temporary)>) = Default::default();
    for (vhost, queues) in &queues {
        let temporary = vhost_of(given, target, (vhost, queues), &mut bar, &mut lines);
        bar.clear();
        match temporary {
            Ok(temporary) => temporaries.push((vhost.clone(), temporary)),
            Err(trouble) => {
                tell(&lines, bar.seconds());
                return Err(lost(trouble));
            }
        }
    }
    tell(&lines, bar.seconds());
    let failed = lines.iter().filter(|(_, _, result)| result.is_err()).count();
    if failed > 0 {
        return Err(Failed::new(format!(
            "{failed} queues are not imported whole; see to what is said of them, then start the \
             same command again"
        )));
    }
    for (vhost, temporary) in temporaries {
        let link = Link::open(&target.amqp, &vhost);
        link.and_then(|mut link| temporary.take_down(&mut link)).map_err(lost)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How many messages are ready in the chosen queues.
fn count(given: &RabbitMq, queues: &BTreeMap<String, Vec<Queue>>) -> Result<u64, Trouble> {
    let mut sum = 0;
    for (vhost, queues) in queues {
        let mut link = Link::open(&given.url, vhost)?;
        for queue in queues {
            match link.depth(&queue.name) {
                Ok(depth) => sum += depth.ready,
                // It is told when it is its turn.
                Err(Trouble::Refused(_)) => {}
                Err(lost) => return Err(lost),
            }
        }
    }
    Ok(sum)
}

/// Imports the queues of one virtual host.
fn vhost_of(
    given: &RabbitMq,
    target: &Target,
    (vhost, queues): (&str, &[Queue]),
    bar: &mut Bar,
    lines: &mut Vec<Line>,
) -> Result<Temporary, Trouble> {
    let from = Link::open(&given.url, vhost)?;
    let mut to = Link::open(&target.amqp, vhost)?;
    let prefix = format!("crossdock.import.{}", given.url.place());
    let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    let progress = Progress::open(target, vhost, (&mut to, &prefix), &names, given.afresh)?;
    let mut moving = Moving { from, to, progress, bar, exchange: prefix, mean_bytes: None };
    for queue in queues {
        let result = match moving.queue(queue, given.how.copy) {
            Ok(moved) => Ok(moved),
            Err(Trouble::Refused(why)) => Err(why),
            Err(Trouble::Lost(why)) => {
                lines.push((vhost.to_owned(), queue.name.clone(), Err(why.clone())));
                return Err(Trouble::Lost(why));
            }
        };
        lines.push((vhost.to_owned(), queue.name.clone(), result));
    }
    Ok(moving.end())
}

fn lost(trouble: Trouble) -> Failed {
    let (Trouble::Lost(why) | Trouble::Refused(why)) = trouble;
    Failed::new(format!("{why}; when that is seen to, start the same command again: it goes on"))
}

fn tell_definitions(definitions: &Value, left_out: &[String]) {
    let count = |list: &str| definitions[list].as_array().map_or(0, Vec::len);
    let counts: Vec<String> = ["vhosts", "users", "exchanges", "queues", "bindings"]
        .into_iter()
        .map(|list| format!("{} {list}", count(list)))
        .collect();
    out::print(&format!("definitions: {}", counts.join(", ")));
    if !left_out.is_empty() {
        out::print(&format!("left out, for this broker has none: {}", left_out.join(", ")));
    }
}

/// Prints the summary.
fn tell(lines: &[Line], seconds: f64) {
    let mut rows = vec![["queue", "vhost", "imported", "before", ""].map(str::to_owned).to_vec()];
    let mut sum = 0;
    for (vhost, queue, result) in lines {
        let (written, before, remark) = match result {
            Ok(moved) => {
                sum += moved.written;
                (moved.written.to_string(), moved.before.to_string(), moved.remark.clone())
            }
            Err(why) => ("-".to_owned(), "-".to_owned(), format!("FAILED: {why}")),
        };
        rows.push(vec![queue.clone(), vhost.clone(), written, before, remark]);
    }
    out::print(show::table(&rows).trim_end());
    out::print(&format!("{sum} messages of {} queues in {seconds:.1} s", lines.len()));
}
