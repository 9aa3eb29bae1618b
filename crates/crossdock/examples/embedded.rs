//! The broker inside a program: a durable queue, a publish that waits for the disk, a consumer that
//! acknowledges. Run it with `cargo run --release --example embedded -p crossdock`.

use crossdock::{Broker, Message, Options};
use std::io::Write as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::temp_dir().join(format!("crossdock-embedded-{}", std::process::id()));
    let broker = Broker::open(Options::embedded(&data)).await?;

    broker.declare_queue("orders").await?;
    let orders = [Message::new("two teas"), Message::new("one coffee").with_header("table", "7")];
    // Returns when both are on the disk.
    broker.publish("orders", &orders).await?;

    let mut consumer = broker.consume("orders", 10).await?;
    for _ in 0..orders.len() {
        let Some(order) = consumer.next().await? else { break };
        let text = order.message.value.clone().unwrap_or_default();
        writeln!(std::io::stdout(), "{}: {}", order.place.offset, String::from_utf8_lossy(&text))?;
        consumer.ack(&[order]).await?;
    }
    drop(consumer);

    broker.stop().await;
    std::fs::remove_dir_all(data)?;
    Ok(())
}
