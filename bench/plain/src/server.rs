//! Connections and requests.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use h3::ext::Protocol;
use h3::server::{RequestResolver, RequestStream};
use h3_datagram::datagram_handler::HandleDatagramsExt;
use http::{Method, Response, StatusCode};
use quinn::crypto::rustls::QuicServerConfig;

use crate::auth::Guard;
use crate::tls::Identity;
use crate::{tcp, udp};

pub(crate) type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// quinn allows 100 request streams by default; a tunnel is a stream, and scenarios open more.
const STREAMS_MAX: u32 = 4096;

pub(crate) fn config(identity: &Identity) -> Result<quinn::ServerConfig> {
    let crypto = QuicServerConfig::try_from(identity.server_config()?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS_MAX.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(crate) async fn serve(endpoint: &quinn::Endpoint, guard: Guard) {
    let guard = Arc::new(guard);
    while let Some(incoming) = endpoint.accept().await {
        let guard = Arc::clone(&guard);
        tokio::spawn(async move {
            if let Err(error) = connection(incoming, guard).await {
                eprintln!("connection: {error:#}");
            }
        });
    }
}

async fn connection(incoming: quinn::Incoming, guard: Arc<Guard>) -> Result<()> {
    let quic = incoming.await?;
    let mut h3 = h3::server::builder()
        .enable_datagram(true)
        .enable_extended_connect(true)
        .build::<_, Bytes>(h3_quinn::Connection::new(quic.clone()))
        .await?;
    let tunnels = udp::Tunnels::default();
    let up = tokio::spawn(udp::upward(h3.get_datagram_reader(), tunnels.clone()));
    while let Ok(Some(resolver)) = h3.accept().await {
        let (quic, tunnels, guard) = (quic.clone(), tunnels.clone(), Arc::clone(&guard));
        tokio::spawn(async move {
            if let Err(error) = request(resolver, quic, tunnels, &guard).await {
                eprintln!("request: {error:#}");
            }
        });
    }
    up.abort();
    Ok(())
}

async fn request(
    resolver: RequestResolver<h3_quinn::Connection, Bytes>,
    quic: quinn::Connection,
    tunnels: udp::Tunnels,
    guard: &Guard,
) -> Result<()> {
    let (request, stream) = resolver.resolve_request().await?;
    if request.method() != Method::CONNECT {
        return refuse(stream, StatusCode::NOT_FOUND).await;
    }
    if !guard.admits(request.headers()) {
        return refuse(stream, StatusCode::PROXY_AUTHENTICATION_REQUIRED).await;
    }
    match request.extensions().get::<Protocol>() {
        None => tcp::tunnel(request.uri(), stream).await,
        Some(&Protocol::CONNECT_UDP) => udp::tunnel(request.uri(), stream, quic, tunnels).await,
        Some(_) => refuse(stream, StatusCode::NOT_IMPLEMENTED).await,
    }
}

/// Answers with a status and nothing else.
pub(crate) async fn refuse(mut stream: Stream, status: StatusCode) -> Result<()> {
    let mut response = Response::builder().status(status);
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        response = response.header(http::header::PROXY_AUTHENTICATE, "Bearer");
    }
    stream.send_response(response.body(())?).await?;
    stream.finish().await?;
    Ok(())
}
