//! One live HTTP/3 connection to the relay and what can be asked of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, StreamError};
use h3::ext::Protocol;
use http::{Method, Request, Response, StatusCode, Uri};
use quinn::{SendDatagramError, VarInt};
use tokio::sync::Notify;
use tracing::debug;

use super::access::{Access, Source};
use super::datagram::{self, Deliver, Routes};
use super::dial::Dialer;
use super::head;
use super::top_up;
use super::transport::{self, CONNECT_FRAME, Opener, Transport};
use crate::Error;
use crate::meter::{MeteredBytes, Meters, TunnelMeter};
use crate::refusal::Refusal;
use crate::target::Target;
use crate::usage::TunnelKind;

pub(crate) type SendHalf = RequestStream<transport::Send, MeteredBytes>;
pub(crate) type RecvHalf = RequestStream<h3_quinn::RecvStream, MeteredBytes>;

/// DNS and a TCP handshake at the exit, both with their own retries, must fit.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Header sections of a relay are a few hundred bytes.
const FIELD_SECTION_BYTES_MAX: u64 = 32 << 10;

/// The answers of the relay's own resources are small JSON objects.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Datagrams that were under way when a tunnel closed still arrive, and are billed: they are
/// counted for this long.
const ROUTE_LINGER: Duration = Duration::from_secs(2);

/// How long the last packets of a closing connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection whose HTTP/3 settings are exchanged.
pub(crate) struct Link {
    endpoint: quinn::Endpoint,
    quic: quinn::Connection,
    requests: SendRequest<Opener, MeteredBytes>,
    routes: Arc<Routes>,
    meters: Arc<Meters>,
    authority: String,
    access: Access,
    going_away: AtomicBool,
    gone: Notify,
}

/// Why a request got no answer of the relay's.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The relay answered, with a no.
    Refused(Refusal),
    /// This connection can't be used (any more); another may.
    LinkGone(String),
}

/// An open TCP tunnel. The link must outlive the halves: h3 closes the connection with the last
/// handle that can send requests.
pub(crate) struct TcpTunnel {
    pub(crate) link: Arc<Link>,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    pub(crate) meter: Arc<TunnelMeter>,
}

/// An open UDP tunnel; closed by dropping it.
pub(crate) struct UdpTunnel {
    pub(crate) sender: UdpSender,
    /// Ends when the relay closes the tunnel; may carry capsules.
    pub(crate) recv: RecvHalf,
    /// Dropping it finishes the request stream, which closes the tunnel at the relay.
    _send: SendHalf,
}

/// Sends UDP payloads through one tunnel.
#[derive(Clone)]
pub(crate) struct UdpSender {
    link: Arc<Link>,
    stream: u64,
    pub(crate) meter: Arc<TunnelMeter>,
    _route: Arc<RouteGuard>,
}

/// The relay's answer to a request for one of its own resources.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
pub(crate) enum UdpSendError {
    /// Does not fit a packet on the way to the relay; the tunnel lives on.
    TooLarge,
    /// The connection is gone and the tunnel with it.
    Lost,
}

struct RouteGuard {
    routes: Arc<Routes>,
    stream: u64,
}

impl Link {
    pub(super) async fn establish(
        dialer: &Dialer,
        source: Source,
        meters: Arc<Meters>,
    ) -> Result<Arc<Link>, Error> {
        let (endpoint, quic) = dialer.dial().await?;
        let relay = dialer.relay();
        let broken = |problem: String| Error::Relay { relay: relay.to_string(), problem };
        let transport = Transport(h3_quinn::Connection::new(quic.clone()));
        let (mut driver, requests) = h3::client::builder()
            .enable_datagram(true)
            .max_field_section_size(FIELD_SECTION_BYTES_MAX)
            .build::<_, _, MeteredBytes>(transport)
            .await
            .map_err(|error| broken(format!("HTTP/3 setup failed: {error}")))?;
        let routes = Arc::new(Routes::default());
        tokio::spawn(async move {
            let error = poll_fn(|cx| driver.poll_close(cx)).await;
            debug!(%error, "HTTP/3 connection ended");
        });
        tokio::spawn(read_datagrams(quic.clone(), Arc::clone(&routes)));
        let link = Arc::new(Link {
            endpoint,
            quic,
            requests,
            routes,
            meters,
            authority: relay.authority(),
            access: Access::new(source).await,
            going_away: AtomicBool::new(false),
            gone: Notify::new(),
        });
        if link.access.is_blind() {
            tokio::spawn(top_up::keep(Arc::downgrade(&link)));
        }
        Ok(link)
    }

    /// What requests show now.
    pub(super) fn shown(&self) -> Option<String> {
        self.access.shown()
    }

    /// A request was refused: whether it makes sense to repeat it with another blind token.
    pub(super) async fn renew(&self, shown: Option<&str>, refusal: &Refusal) -> bool {
        refusal.status == Some(StatusCode::UNAUTHORIZED) && self.access.renew(shown).await
    }

    /// Spends another token for this connection.
    pub(super) async fn add_token(&self) -> bool {
        let shown = self.shown();
        self.access.renew(shown.as_deref()).await
    }

    /// Payload and everything else that came and went so far.
    pub(super) fn wire_bytes(&self) -> u64 {
        let stats = self.quic.stats();
        stats.udp_rx.bytes + stats.udp_tx.bytes
    }

    /// Completes when no new tunnel should be opened here: closed, or the relay is draining.
    pub(super) async fn unusable(&self) -> String {
        let notified = self.gone.notified();
        if self.going_away.load(Relaxed) {
            return "the relay is draining".into();
        }
        tokio::select! {
            error = self.quic.closed() => error.to_string(),
            () = notified => "the relay is draining".into(),
        }
    }

    pub(super) fn stats(&self) -> (usize, quinn::ConnectionStats) {
        (self.quic.stable_id(), self.quic.stats())
    }

    pub(super) fn usable(&self) -> bool {
        self.quic.close_reason().is_none() && !self.going_away.load(Relaxed)
    }

    pub(super) async fn close(&self) {
        let no_error = VarInt::from_u32(0x100);
        self.quic.close(no_error, b"client stopped");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }

    /// CONNECT (RFC 9114 section 4.4).
    pub(super) async fn open_tcp(
        self: &Arc<Self>,
        target: &Target,
    ) -> Result<TcpTunnel, OpenError> {
        let authority = target.to_string();
        let meter = self.meters.open(TunnelKind::Tcp, authority.clone());
        let mut fields = Vec::new();
        let credential = self.credential();
        if let Some(credential) = &credential {
            fields.push(("proxy-authorization", credential.as_str()));
        }
        let frame = head::connect_frame(&authority, &fields);
        // h3 encodes a header section of this request, which the transport replaces by `frame`.
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::from_static("replaced.invalid:443");
        let opened = CONNECT_FRAME.scope(frame, self.ask(request)).await;
        let stream = self.accepted(opened, &meter)?;
        let (send, recv) = stream.split();
        Ok(TcpTunnel { link: Arc::clone(self), send, recv, meter })
    }

    /// CONNECT-UDP (RFC 9298 section 3.4). `deliver` is called for every UDP payload that comes
    /// back, in capsules excepted: those are the caller's, with the stream.
    pub(super) async fn open_udp(
        self: &Arc<Self>,
        target: &Target,
        deliver: Deliver,
    ) -> Result<UdpTunnel, OpenError> {
        let meter = self.meters.open(TunnelKind::Udp, target.to_string());
        if self.quic.max_datagram_size().is_none() {
            meter.refused();
            return Err(OpenError::Refused(Refusal::unavailable(
                "the relay does not support QUIC datagrams; it can't carry UDP",
            )));
        }
        let uri = format!("https://{}{}", self.authority, target.masque_path());
        let mut builder = Request::builder().method(Method::CONNECT).uri(uri);
        builder = builder.extension(Protocol::CONNECT_UDP).header("capsule-protocol", "?1");
        if let Some(credential) = self.credential() {
            builder = builder.header("proxy-authorization", credential);
        }
        let request = builder.body(()).map_err(|error| {
            meter.refused();
            OpenError::Refused(Refusal::unavailable(error))
        })?;
        let opened = self.send(request).await;
        let mut stream = self.noted(opened, &meter)?;
        // Datagrams may overtake the response, so the route comes first.
        let id = stream.id().into_inner();
        self.routes.insert(id, Arc::clone(&meter), deliver);
        let route = Arc::new(RouteGuard { routes: Arc::clone(&self.routes), stream: id });
        let answered = self.response(&mut stream).await.map(|response| (stream, response));
        let stream = self.accepted(answered, &meter)?;
        let (send, recv) = stream.split();
        let sender = UdpSender { link: Arc::clone(self), stream: id, meter, _route: route };
        Ok(UdpTunnel { sender, recv, _send: send })
    }

    /// A request for a resource of the relay itself.
    pub(super) async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, OpenError> {
        let uri = format!("https://{}{path}", self.authority);
        let mut builder = Request::builder().method(method).uri(uri);
        if let Some(credential) = self.credential() {
            builder = builder.header("authorization", credential);
        }
        if !body.is_empty() {
            builder = builder
                .header("content-type", "application/json")
                .header("content-length", body.len());
        }
        let request =
            builder.body(()).map_err(|error| OpenError::Refused(Refusal::unavailable(error)))?;
        let work = async {
            let mut stream = self.send(request).await?;
            // The relay may answer before it has read all of a request, and stop reading: the
            // answer counts nevertheless (RFC 9114 section 4.1.1). What breaks the connection is
            // reported by the response as well.
            let sent = match body.is_empty() {
                true => Ok(()),
                false => stream.send_data(MeteredBytes::uncounted(body)).await,
            };
            if sent.is_ok() {
                let _stopped = stream.finish().await;
            }
            let status = self.response(&mut stream).await?.status();
            let mut body = BytesMut::new();
            while let Some(chunk) = stream.recv_data().await.map_err(|error| self.failed(error))? {
                if body.len() + chunk.remaining() > ANSWER_BYTES_MAX {
                    let text = format!("the relay's answer exceeds {ANSWER_BYTES_MAX} bytes");
                    return Err(OpenError::Refused(Refusal::unavailable(text)));
                }
                bytes::BufMut::put(&mut body, chunk);
            }
            Ok(Answer { status, body: body.freeze() })
        };
        match tokio::time::timeout(RESPONSE_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(OpenError::LinkGone("no answer in time".into())),
        }
    }

    async fn ask(&self, request: Request<()>) -> Result<(Stream, Response<()>), OpenError> {
        let mut stream = self.send(request).await?;
        let response = self.response(&mut stream).await?;
        Ok((stream, response))
    }

    async fn send(&self, request: Request<()>) -> Result<Stream, OpenError> {
        let mut requests = self.requests.clone();
        // Waits while the relay allows no further stream.
        match tokio::time::timeout(RESPONSE_TIMEOUT, requests.send_request(request)).await {
            Ok(result) => result.map_err(|error| self.failed(error)),
            Err(_) => Err(OpenError::Refused(Refusal::unavailable(
                "the relay allows no further stream on this connection; raise `connections`",
            ))),
        }
    }

    async fn response(&self, stream: &mut Stream) -> Result<Response<()>, OpenError> {
        match tokio::time::timeout(RESPONSE_TIMEOUT, stream.recv_response()).await {
            Ok(result) => result.map_err(|error| self.failed(error)),
            Err(_) => {
                stream.stop_stream(Code::H3_REQUEST_CANCELLED);
                Err(OpenError::Refused(Refusal::unavailable("the relay did not answer in time")))
            }
        }
    }

    fn accepted(
        &self,
        answered: Result<(Stream, Response<()>), OpenError>,
        meter: &TunnelMeter,
    ) -> Result<Stream, OpenError> {
        let (stream, response) = self.noted(answered, meter)?;
        if response.status().is_success() {
            meter.accepted();
            return Ok(stream);
        }
        meter.refused();
        let refusal = Refusal::from_response(response.status(), response.headers());
        Err(OpenError::Refused(refusal))
    }

    fn noted<T>(&self, result: Result<T, OpenError>, meter: &TunnelMeter) -> Result<T, OpenError> {
        if let Err(OpenError::Refused(_)) = &result {
            meter.refused();
        }
        result
    }

    fn failed(&self, error: StreamError) -> OpenError {
        match error {
            StreamError::RemoteClosing => {
                self.going_away.store(true, Relaxed);
                self.gone.notify_waiters();
                OpenError::LinkGone("the relay is draining".into())
            }
            StreamError::ConnectionError(error) => OpenError::LinkGone(error.to_string()),
            StreamError::RemoteTerminate { code: Code::H3_REQUEST_REJECTED } => {
                OpenError::LinkGone("the relay takes no more requests on this connection".into())
            }
            error => OpenError::Refused(Refusal::unavailable(error)),
        }
    }

    fn credential(&self) -> Option<String> {
        self.shown()
    }
}

type Stream = RequestStream<transport::Bidi, MeteredBytes>;

impl UdpSender {
    /// Hands one UDP payload to QUIC, waiting for room in its send buffer, and counts it.
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<(), UdpSendError> {
        let frame = datagram::encode(self.stream, payload);
        match self.link.quic.send_datagram_wait(frame).await {
            Ok(()) => {
                self.meter.up_datagram(payload.len());
                Ok(())
            }
            Err(SendDatagramError::TooLarge) => Err(UdpSendError::TooLarge),
            Err(_) => Err(UdpSendError::Lost),
        }
    }
}

impl Drop for RouteGuard {
    fn drop(&mut self) {
        let (routes, stream) = (Arc::clone(&self.routes), self.stream);
        // Outside a runtime everything is being torn down, and the route with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(ROUTE_LINGER).await;
                routes.remove(stream);
            });
        }
    }
}

async fn read_datagrams(quic: quinn::Connection, routes: Arc<Routes>) {
    while let Ok(frame) = quic.read_datagram().await {
        if routes.dispatch(frame).is_err() {
            let code = u32::try_from(Code::H3_DATAGRAM_ERROR.value()).unwrap_or(0);
            quic.close(VarInt::from_u32(code), b"malformed HTTP Datagram");
        }
    }
}
