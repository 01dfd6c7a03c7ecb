//! CONNECT (RFC 9114 section 4.4).

use anyhow::Result;
use bytes::{Buf, BytesMut};
use h3::error::Code;
use http::{Response, StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Stream, refuse};
use crate::target;

/// Read from the target at a time; `tokio::io::copy` takes 8 KiB, most programs that care 64.
const READ_BYTES: usize = 64 << 10;

pub(crate) async fn tunnel(uri: &Uri, mut stream: Stream) -> Result<()> {
    let Ok(address) = target::of_connect(uri).await else {
        return refuse(stream, StatusCode::BAD_REQUEST).await;
    };
    let Ok(target) = TcpStream::connect(address).await else {
        return refuse(stream, StatusCode::BAD_GATEWAY).await;
    };
    target.set_nodelay(true)?;
    stream.send_response(Response::new(())).await?;
    let (mut send, mut receive) = stream.split();
    let (mut reader, mut writer) = target.into_split();
    let up = tokio::spawn(async move {
        while let Ok(Some(mut data)) = receive.recv_data().await {
            while data.has_remaining() {
                writer.write_buf(&mut data).await?;
            }
        }
        writer.shutdown().await
    });
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break send.finish().await?,
            Ok(_) => send.send_data(buffer.split().freeze()).await?,
            Err(_) => {
                send.stop_stream(Code::H3_CONNECT_ERROR);
                break;
            }
        }
    }
    // The client may go on sending after the target has finished.
    up.await??;
    Ok(())
}
