//! From `--listen` to sockets.

use crate::broker::StartError;
use crate::options::{Listen, Options};
use crate::wires;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A wire's sockets.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) wire: &'static str,
    pub(crate) listeners: Vec<TcpListener>,
}

/// Listens where the options say, for every wire in the order of the table. Of one wire an address
/// counts as typed, `off` takes all before it away, and so does a first address after a file's.
pub(crate) async fn bind(options: &Options) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::new();
    for (wire, port) in wires::listenable() {
        let told: Vec<&Listen> = options.listen.iter().filter(|it| it.wire == wire).collect();
        let listeners = match addresses(&told) {
            None => frontend::loopback(port)
                .await
                .map_err(|source| StartError::Listen { wire, source })?,
            Some(addresses) => {
                check(wire, &addresses, options.insecure_listen)?;
                frontend::bind(&addresses)
                    .await
                    .map_err(|source| StartError::Listen { wire, source })?
            }
        };
        if !listeners.is_empty() {
            bound.push(Bound { wire, listeners });
        }
    }
    Ok(bound)
}

/// Refuses what other machines could reach, before any socket is made.
pub(crate) fn refuse_insecure(options: &Options) -> Result<(), StartError> {
    for (wire, _) in wires::listenable() {
        let told: Vec<&Listen> = options.listen.iter().filter(|it| it.wire == wire).collect();
        if let Some(addresses) = addresses(&told) {
            check(wire, &addresses, options.insecure_listen)?;
        }
    }
    Ok(())
}

/// The addresses told; `None` when nothing was.
fn addresses(told: &[&Listen]) -> Option<Vec<SocketAddr>> {
    let after_off = told.iter().rposition(|it| it.address.is_none()).map_or(0, |at| at + 1);
    if told.is_empty() {
        return None;
    }
    Some(told[after_off..].iter().filter_map(|it| it.address).collect())
}

fn check(wire: &'static str, addresses: &[SocketAddr], insecure: bool) -> Result<(), StartError> {
    let open = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
    match open {
        Some(address) if !insecure => Err(StartError::Insecure { wire, address: *address }),
        _ => Ok(()),
    }
}
