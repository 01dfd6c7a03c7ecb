//! The relay's side of HTTP/3, CONNECT and CONNECT-UDP, as strict as the RFCs about what it reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::ext::Protocol;
use h3::server::{RequestResolver, RequestStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Runtime;

use super::Ledger;

pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

/// Replies of this host come in capsules.
pub(crate) const CAPSULE_HOST: &str = "capsule.test";

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;
type Routes = Arc<Mutex<HashMap<u64, Arc<UdpSocket>>>>;

/// A relay in a runtime of its own, so that it can vanish without a word.
pub(crate) struct TestRelay {
    pub(crate) address: SocketAddr,
    pub(crate) pin: [u8; 32],
    certificate: Arc<rcgen::CertifiedKey<rcgen::KeyPair>>,
    runtime: Option<Runtime>,
}

impl TestRelay {
    pub(crate) fn start(ledger: &Arc<Ledger>) -> TestRelay {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        TestRelay::on("127.0.0.1:0".parse().unwrap(), Arc::new(certificate), ledger)
    }

    /// Kills the relay and starts another in its place: same port, certificate and ledger, and no
    /// memory of connections.
    pub(crate) fn kill_and_restart(&mut self, ledger: &Arc<Ledger>) {
        self.runtime.take().unwrap().shutdown_timeout(std::time::Duration::from_secs(5));
        *self = TestRelay::on(self.address, Arc::clone(&self.certificate), ledger);
    }

    fn on(
        address: SocketAddr,
        certificate: Arc<rcgen::CertifiedKey<rcgen::KeyPair>>,
        ledger: &Arc<Ledger>,
    ) -> TestRelay {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let endpoint = {
            let _guard = runtime.enter();
            quinn::Endpoint::server(server_config(&certificate), address).unwrap()
        };
        let address = endpoint.local_addr().unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.cert.der());
        let ledger = Arc::clone(ledger);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection, ledger).await;
                    }
                });
            }
        });
        let pin = digest.as_ref().try_into().unwrap();
        TestRelay { address, pin, certificate, runtime: Some(runtime) }
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn server_config(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> quinn::ServerConfig {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.datagram_receive_buffer_size(Some(4 << 20)).initial_mtu(1350);
    config.transport_config(Arc::new(transport));
    config
}

async fn serve(quic: quinn::Connection, ledger: Arc<Ledger>) {
    let routes = Routes::default();
    tokio::spawn(upward(quic.clone(), Arc::clone(&routes), Arc::clone(&ledger)));
    let mut h3 = h3::server::builder()
        .enable_datagram(true)
        .enable_extended_connect(true)
        .build::<_, Bytes>(h3_quinn::Connection::new(quic.clone()))
        .await
        .unwrap();
    while let Ok(Some(resolver)) = h3.accept().await {
        let (quic, routes, ledger) = (quic.clone(), Arc::clone(&routes), Arc::clone(&ledger));
        tokio::spawn(request(resolver, quic, routes, ledger));
    }
}

async fn request(
    resolver: RequestResolver<h3_quinn::Connection, Bytes>,
    quic: quinn::Connection,
    routes: Routes,
    ledger: Arc<Ledger>,
) {
    let Ok((request, stream)) = resolver.resolve_request().await else { return };
    let expected = format!("Bearer {TOKEN}");
    let tunnel = request.method() == Method::CONNECT;
    let field = if tunnel { "proxy-authorization" } else { "authorization" };
    if request.headers().get(field).is_none_or(|value| value != expected.as_str()) {
        return answer(stream, if tunnel { 407 } else { 401 }, "", "").await;
    }
    match request.extensions().get::<Protocol>() {
        Some(&Protocol::CONNECT_UDP) => connect_udp(request, stream, quic, routes, ledger).await,
        Some(_) => answer(stream, 501, "", "").await,
        None if tunnel => connect(request, stream, ledger).await,
        None => resource(request, stream, ledger).await,
    }
}

async fn connect(request: Request<()>, mut stream: Stream, ledger: Arc<Ledger>) {
    let uri = request.uri();
    // RFC 9114 section 4.4: no :scheme, no :path.
    if uri.scheme().is_some() || uri.path_and_query().is_some() {
        return stream.stop_stream(Code::H3_MESSAGE_ERROR);
    }
    let (host, port) = (uri.host().unwrap().to_owned(), uri.port_u16().unwrap());
    let target = match resolve(&host, port) {
        Ok(target) => target,
        Err((status, error)) => return answer(stream, status, error, "").await,
    };
    let Ok(target) = TcpStream::connect(target).await else {
        return answer(stream, 502, "connection_refused", "").await;
    };
    stream.send_response(Response::new(())).await.unwrap();
    let (mut send, mut receive) = stream.split();
    let (mut reader, mut writer) = target.into_split();
    let up = async {
        while let Ok(Some(mut data)) = receive.recv_data().await {
            let length = data.remaining() as u64;
            if writer.write_all(&data.copy_to_bytes(data.remaining())).await.is_err() {
                return;
            }
            ledger.up.fetch_add(length, SeqCst);
        }
        let _ = writer.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return drop(send.finish().await),
                Ok(length) => {
                    let data = Bytes::copy_from_slice(&buffer[..length]);
                    if send.send_data(data).await.is_err() {
                        return;
                    }
                    ledger.down.fetch_add(length as u64, SeqCst);
                }
                Err(_) => return send.stop_stream(Code::H3_CONNECT_ERROR),
            }
        }
    };
    tokio::join!(up, down);
}

async fn connect_udp(
    request: Request<()>,
    mut stream: Stream,
    quic: quinn::Connection,
    routes: Routes,
    ledger: Arc<Ledger>,
) {
    assert_eq!(request.headers()["capsule-protocol"], "?1");
    let parts: Vec<_> = request.uri().path().split('/').collect();
    let ["", ".well-known", "masque", "udp", host, port, ""] = parts[..] else {
        return answer(stream, 400, "", "").await;
    };
    let host = host.replace("%3A", ":");
    let target = match resolve(&host, port.parse().unwrap()) {
        Ok(target) => target,
        Err((status, error)) => return answer(stream, status, error, "").await,
    };
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = Arc::new(UdpSocket::bind(any).await.unwrap());
    socket.connect(target).await.unwrap();
    let quarter = stream.id().into_inner() / 4;
    routes.lock().unwrap().insert(quarter, Arc::clone(&socket));
    let response = Response::builder().header("capsule-protocol", "?1").body(()).unwrap();
    stream.send_response(response).await.unwrap();
    let (mut send, mut receive) = stream.split();
    let capsules = host == CAPSULE_HOST;
    let down = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut buffer).await {
            let mut datagram = if capsules { Vec::new() } else { varint(quarter) };
            datagram.push(0);
            datagram.extend_from_slice(&buffer[..length]);
            if capsules {
                // An unknown capsule comes first, which must be skipped.
                let mut bytes = vec![0x29, 3, 1, 2, 3, 0];
                bytes.extend(varint(datagram.len() as u64));
                bytes.extend(datagram);
                for piece in bytes.chunks(5) {
                    if send.send_data(Bytes::copy_from_slice(piece)).await.is_err() {
                        return;
                    }
                }
            } else if quic.send_datagram_wait(datagram.into()).await.is_err() {
                return;
            }
            ledger.down.fetch_add(length as u64, SeqCst);
        }
    };
    let closed = async { while let Ok(Some(_)) = receive.recv_data().await {} };
    tokio::select! { () = down => {}, () = closed => {} }
    routes.lock().unwrap().remove(&quarter);
}

/// QUIC datagrams of one connection to the sockets of its tunnels.
async fn upward(quic: quinn::Connection, routes: Routes, ledger: Arc<Ledger>) {
    while let Ok(mut datagram) = quic.read_datagram().await {
        let quarter = match datagram[0] >> 6 {
            0 => u64::from(datagram.get_u8()),
            1 => u64::from(datagram.get_u16() & 0x3fff),
            _ => panic!("no test opens that many streams"),
        };
        assert_eq!(datagram.get_u8(), 0, "context id");
        let socket = routes.lock().unwrap().get(&quarter).cloned();
        if let Some(socket) = socket
            && socket.send(&datagram).await.is_ok()
        {
            ledger.up.fetch_add(datagram.len() as u64, SeqCst);
        }
    }
}

async fn resource(request: Request<()>, mut stream: Stream, ledger: Arc<Ledger>) {
    let mut body = Vec::new();
    while let Ok(Some(mut data)) = stream.recv_data().await {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    match (request.method().as_str(), request.uri().path()) {
        ("GET", "/.well-known/weir/usage") => {
            let status = if ledger.silent.load(SeqCst) == 0 { 200 } else { 503 };
            answer(stream, status, "", &ledger.ask().to_string()).await;
        }
        ("POST", "/.well-known/weir/voucher") => {
            let (status, body) = ledger.take(&body);
            answer(stream, status, "", &body.to_string()).await;
        }
        ("POST", "/.well-known/weir/sample") => {
            let (status, body) = ledger.co_sign(&body);
            answer(stream, status, "", &body.to_string()).await;
        }
        _ => answer(stream, 404, "", "").await,
    }
}

async fn answer(mut stream: Stream, status: u16, error: &str, body: &str) {
    let mut builder = Response::builder().status(status);
    if !error.is_empty() {
        builder = builder.header("proxy-status", format!("test; error={error}"));
    }
    let _ = stream.send_response(builder.body(()).unwrap()).await;
    if !body.is_empty() {
        let _ = stream.send_data(Bytes::copy_from_slice(body.as_bytes())).await;
    }
    let _ = stream.finish().await;
}

/// All good names are this host; the others fail as their name says.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, (u16, &'static str)> {
    match host {
        "private.test" => Err((403, "destination_ip_prohibited")),
        "nx.test" => Err((502, "dns_error")),
        "slow.test" => Err((504, "connection_timeout")),
        name if name.ends_with(".test") => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        literal => {
            let literal = literal.trim_matches(['[', ']']);
            Ok(SocketAddr::new(literal.parse().unwrap(), port))
        }
    }
}

fn varint(value: u64) -> Vec<u8> {
    match value {
        0..64 => vec![value as u8],
        64..16384 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    }
}
