//! Keeps many AMQP queues in use while another driver measures.

fn main() {
    bench::crowd::run();
}
