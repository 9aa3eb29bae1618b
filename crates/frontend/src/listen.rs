//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// How often a free port is tried when it must be free on both loopback addresses.
const FREE_PORT_TRIES: u32 = 32;

/// Listens on every one of `addresses`.
///
/// Fails with the first address that cannot be had; the error names it.
pub async fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| at(*address, &error))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Listens on both loopback addresses, or on the IPv4 one where there is no IPv6. Port 0 takes a
/// port that is free on both.
pub async fn loopback(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut tries = if port == 0 { FREE_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let first = bind(&[SocketAddr::from((Ipv4Addr::LOCALHOST, port))]).await?;
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, first[0].local_addr()?.port()));
        match TcpListener::bind(address).await {
            Ok(second) => return Ok(first.into_iter().chain([second]).collect()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(at(address, &error));
            }
            Err(_) => return Ok(first),
        }
    }
}

fn at(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
