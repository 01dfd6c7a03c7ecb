//! One application's TCP connection and one CONNECT tunnel, joined until both directions end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::error::{Code, StreamError};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tracing::debug;

use crate::meter::{MeteredBytes, TunnelMeter};
use crate::relay::{RecvHalf, SendHalf, TcpTunnel};

/// One DATA frame at most; large enough that its header costs nothing.
const CHUNK_BYTES: usize = 64 << 10;

/// How much of what is still on its way to an application that is gone is received and counted:
/// the relay has billed it. No more than a stream's window can be under way.
const DRAIN_BYTES_MAX: usize = 4 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a tunnel did not end with an orderly close of both directions.
enum Broken {
    /// The application reset its connection.
    Application,
    /// The target, the relay or the way there did.
    Relay(StreamError),
}

/// Carries bytes both ways. An end of stream is passed on as one, and so is a reset. `early` is
/// what the application sent together with its proxy request.
pub(crate) async fn join(application: TcpStream, tunnel: TcpTunnel, early: Bytes) {
    let TcpTunnel { link, mut send, mut recv, meter } = tunnel;
    let _ = application.set_nodelay(true);
    let (mut reader, mut writer) = application.into_split();
    let result = {
        let up = upward(&mut reader, &mut send, &meter, early);
        let down = downward(&mut recv, &mut writer, &meter);
        tokio::try_join!(up, down)
    };
    match result {
        Ok(_) => {}
        Err(Broken::Application) => {
            reset(writer, reader);
            // What has arrived is read first: a reset by the relay would discard it.
            drain(&mut recv, &meter, Duration::ZERO).await;
            send.stop_stream(Code::H3_CONNECT_ERROR);
            drain(&mut recv, &meter, DRAIN_TIMEOUT).await;
        }
        Err(Broken::Relay(error)) => {
            debug!(%error, "tunnel broke");
            send.stop_stream(Code::H3_REQUEST_CANCELLED);
            reset(writer, reader);
        }
    }
    // h3's request handle, which the link holds, keeps the connection open for the halves.
    drop((send, recv, link));
}

async fn upward(
    application: &mut OwnedReadHalf,
    relay: &mut SendHalf,
    meter: &Arc<TunnelMeter>,
    early: Bytes,
) -> Result<(), Broken> {
    let mut chunk = early;
    let mut buffer = BytesMut::new();
    loop {
        if !chunk.is_empty() {
            match relay.send_data(MeteredBytes::new(chunk, meter)).await {
                Ok(()) => {}
                // The target reads no more (STOP_SENDING); what it still sends is wanted.
                Err(StreamError::RemoteTerminate { .. }) => return Ok(()),
                Err(error) => return Err(Broken::Relay(error)),
            }
        }
        buffer.reserve(CHUNK_BYTES);
        match application.read_buf(&mut buffer).await {
            Ok(0) => break,
            Ok(_) => chunk = buffer.split().freeze(),
            Err(_) => return Err(Broken::Application),
        }
    }
    relay.finish().await.map_err(Broken::Relay)
}

async fn downward(
    relay: &mut RecvHalf,
    application: &mut OwnedWriteHalf,
    meter: &Arc<TunnelMeter>,
) -> Result<(), Broken> {
    while let Some(mut chunk) = relay.recv_data().await.map_err(Broken::Relay)? {
        meter.down_stream(chunk.remaining());
        application.write_all_buf(&mut chunk).await.map_err(|_| Broken::Application)?;
    }
    application.shutdown().await.map_err(|_| Broken::Application)
}

/// Counts and discards what arrives within `wait`.
async fn drain(relay: &mut RecvHalf, meter: &TunnelMeter, wait: Duration) {
    let deadline = Instant::now() + wait;
    let mut drained = 0;
    while drained < DRAIN_BYTES_MAX
        && let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(deadline, relay.recv_data()).await
    {
        meter.down_stream(chunk.remaining());
        drained += chunk.remaining();
    }
}

/// Closes with a RST, so that the application does not take a broken stream for a complete one.
fn reset(writer: OwnedWriteHalf, reader: OwnedReadHalf) {
    if let Ok(stream) = reader.reunite(writer) {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}
