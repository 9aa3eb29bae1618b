//! Many queues in use while something else is measured: declares them, says `ready`, then puts a
//! message through one after another, at `--rate` a second, until it is ended.
//!
//! Options: `--port 5672 --queues 10000 --rate 200 --size 100`.

use crate::Args;
use crate::amqp::{Amqp, basic_get};
use crate::probe::{now_ns, pace, payload};
use crate::raw::{Connection, Events, Protocol, Role};

/// Gets on their way at once; their answers are read then.
const GETS: u64 = 100;

pub fn run() {
    let args = Args::parse();
    let (queues, rate) = (args.number("queues", 10_000), args.number("rate", 200));
    let body = payload(args.size());
    let mut connection = Connection::open(&args.address(5672));
    let mut crowd: Vec<Amqp> =
        (0..queues).map(|number| Amqp::of_queue(&args, &format!("crowd-{number:06}"))).collect();
    crowd[0].handshake(&mut connection, Role::Prepare);
    for queue in &crowd {
        queue.declare_on(&mut connection);
    }
    println!("ready");
    let (mut out, mut events, start) = (Vec::new(), Events::default(), now_ns());
    for number in 0.. {
        pace(start + number * 1_000_000_000 / rate);
        let at = (number % queues) as usize;
        crowd[at].publish(&mut out, &body);
        basic_get(&mut out, &format!("crowd-{at:06}"));
        connection.send(&out);
        out.clear();
        if number % GETS == GETS - 1 {
            // A get may come before its message is stored: what is left is got the next time round.
            connection.poll(&mut crowd[0], &mut out, &mut events);
        }
    }
}
