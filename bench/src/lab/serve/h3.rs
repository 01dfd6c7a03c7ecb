//! The HTTP/3 target: `GET /bytes/N?seed=S`.

use std::net::UdpSocket;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use h3::server::RequestResolver;
use http::{Response, StatusCode};

use super::http::parse_bytes;
use crate::lab::pattern;

const CHUNK_BYTES: usize = 64 << 10;

pub(super) fn endpoint(socket: UdpSocket, config: quinn::ServerConfig) -> Result<quinn::Endpoint> {
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::EndpointConfig::default();
    Ok(quinn::Endpoint::new(endpoint, Some(config), socket, runtime)?)
}

/// Accepts for ever.
pub(super) async fn serve(endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            // A peer that breaks the protocol ends its own connection only.
            if let Ok(connection) = incoming.await {
                let _ = connection_loop(connection).await;
            }
        });
    }
}

async fn connection_loop(connection: quinn::Connection) -> Result<()> {
    let quic = h3_quinn::Connection::new(connection);
    let mut h3 = h3::server::Connection::<_, Bytes>::new(quic).await?;
    while let Some(resolver) = h3.accept().await? {
        tokio::spawn(request(resolver));
    }
    Ok(())
}

async fn request(resolver: RequestResolver<h3_quinn::Connection, Bytes>) -> Result<()> {
    let (request, mut stream) = resolver.resolve_request().await?;
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let Some((count, seed)) = parse_bytes(target) else {
        let response = Response::builder().status(StatusCode::NOT_FOUND).body(())?;
        stream.send_response(response).await?;
        return Ok(stream.finish().await?);
    };
    let response = Response::builder().header("content-length", count).body(())?;
    stream.send_response(response).await?;
    let mut sent = 0;
    while sent < count {
        let size = usize::try_from(count - sent).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut chunk = vec![0; size];
        pattern::fill(seed, sent, &mut chunk);
        stream.send_data(chunk.into()).await?;
        sent += size as u64;
    }
    Ok(stream.finish().await?)
}
