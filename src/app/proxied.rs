//! Connections that a trusted proxy passes on unread, behind a PROXY protocol header.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::wire::proxy_protocol::{FIXED_BYTES, Fixed, Origin, ProxyProtocolError};

/// Why it is not known whom a connection is for.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// No header came in time.
    #[error("no PROXY protocol header came within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The proxy is gone.
    #[error("the connection broke off within its PROXY protocol header: {0}")]
    Broken(#[from] std::io::Error),
    /// What came is no header.
    #[error("{0}")]
    Header(#[from] ProxyProtocolError),
}

/// Reads the header, and not one byte of what follows it.
pub async fn origin(socket: &mut TcpStream, patience: Duration) -> Result<Origin, OriginError> {
    tokio::time::timeout(patience, read(socket)).await.unwrap_or(Err(OriginError::Timeout(patience)))
}

async fn read(socket: &mut TcpStream) -> Result<Origin, OriginError> {
    let mut fixed = [0; FIXED_BYTES];
    socket.read_exact(&mut fixed).await?;
    let fixed = Fixed::parse(&fixed)?;
    let mut rest = vec![0; fixed.rest()];
    socket.read_exact(&mut rest).await?;
    Ok(fixed.origin(&rest)?)
}
