//! Drives AMQP 0-9-1 without a client library. Modes: prepare pub con life flow lat.

fn main() {
    bench::raw::run("amqp-raw", 5672, |args| Box::new(bench::amqp::Amqp::new(args)));
}
