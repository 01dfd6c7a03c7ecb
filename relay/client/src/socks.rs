//! The SOCKS5 proxy (RFC 1928): CONNECT and UDP ASSOCIATE without authentication.

mod associate;
pub(crate) mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use crate::relay::Pool;
use crate::tcp;
use wire::{Command, Parsed, Request, WireError};

/// Applications connected at a time, each with one tunnel or association; later ones wait in the
/// listen queue. Bounds memory and file descriptors.
const APPLICATIONS_MAX: usize = 4096;

/// A local application has no reason to take longer over its few bytes.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Out of descriptors and the like: let connections end before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const REPLY_SUCCEEDED: u8 = 0x00;
const REPLY_GENERAL_FAILURE: u8 = 0x01;

/// Accepts applications for ever.
pub(crate) async fn serve(listener: TcpListener, pool: Arc<Pool>) {
    let places = Arc::new(Semaphore::new(APPLICATIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((application, from)) => {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move {
                    if let Err(error) = serve_one(application, from, &pool).await {
                        debug!(%from, %error, "SOCKS5 connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(
    mut application: TcpStream,
    from: SocketAddr,
    pool: &Arc<Pool>,
) -> io::Result<()> {
    let negotiation = negotiate(&mut application);
    let (request, early) = tokio::time::timeout(NEGOTIATION_TIMEOUT, negotiation).await??;
    match request.command {
        Command::Connect => {
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            match pool.open_tcp(&request.target).await {
                Ok(tunnel) => {
                    application.write_all(&wire::reply(REPLY_SUCCEEDED, nowhere)).await?;
                    tcp::join(application, tunnel, early).await;
                    Ok(())
                }
                Err(refusal) => {
                    info!(target = %request.target, %refusal, "TCP tunnel not opened");
                    application.write_all(&wire::reply(refusal.socks_reply(), nowhere)).await
                }
            }
        }
        Command::UdpAssociate => associate::serve(application, from, &request, pool).await,
    }
}

/// Greeting and request, and what the application sent behind them.
async fn negotiate(application: &mut TcpStream) -> io::Result<(Request, Bytes)> {
    let mut buffer = BytesMut::with_capacity(wire::REQUEST_BYTES_MAX);
    let greeting = read_message(application, &mut buffer, wire::parse_greeting).await;
    match greeting {
        Ok(true) => application.write_all(&[wire::VERSION, wire::NO_AUTHENTICATION]).await?,
        Ok(false) => {
            application.write_all(&[wire::VERSION, wire::NO_ACCEPTABLE_METHOD]).await?;
            return Err(io::Error::other("the application insists on authentication"));
        }
        Err(error) => return Err(error),
    }
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    match read_message(application, &mut buffer, wire::parse_request).await {
        Ok(request) => Ok((request, buffer.freeze())),
        Err(error) => {
            let reply = error.get_ref().and_then(|e| e.downcast_ref::<WireError>());
            let reply = reply.map_or(REPLY_GENERAL_FAILURE, |wire| wire.reply());
            application.write_all(&wire::reply(reply, nowhere)).await?;
            Err(error)
        }
    }
}

/// Reads until `parse` has a whole message; what follows it stays in `buffer`.
async fn read_message<T>(
    application: &mut TcpStream,
    buffer: &mut BytesMut,
    parse: fn(&[u8]) -> Parsed<T>,
) -> io::Result<T> {
    loop {
        if let Some((message, length)) = parse(buffer).map_err(io::Error::other)? {
            let _ = buffer.split_to(length);
            return Ok(message);
        }
        // No message is longer than the buffer, so this read always has room.
        if application.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
