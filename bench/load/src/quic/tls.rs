//! TLS of the generator's connections.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, DigitallySignedStruct, Error, SignatureScheme};

/// Whom to trust, and a count of the certificates that were shown: a resumed handshake shows none
/// (RFC 8446, section 2.2).
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// Any certificate is taken without it, and its signature isn't checked.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    shown: Arc<AtomicU64>,
}

impl Trust {
    pub(crate) fn new(ca: Option<&Path>) -> anyhow::Result<Trust> {
        let provider = Arc::new(provider());
        let authority = match ca {
            None => None,
            Some(path) => {
                let at = || path.display().to_string();
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).with_context(at)? {
                    roots.add(certificate.with_context(at)?).with_context(at)?;
                }
                let builder =
                    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
                Some(builder.build().with_context(at)?)
            }
        };
        Ok(Trust { authority, provider, shown: Arc::default() })
    }

    /// The same, with a count of its own.
    pub(crate) fn fresh(&self) -> Trust {
        Trust { shown: Arc::default(), ..self.clone() }
    }

    /// Certificates that relays have shown so far.
    pub(crate) fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }
}

/// A client's configuration. What `resumption` says decides if sessions are resumed.
pub(crate) fn client(trust: &Trust, resumption: Resumption) -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(trust.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust.clone()))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.resumption = resumption;
    config
}

/// AES-128-GCM first, as browsers on CPUs with AES ask for it.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.shown.fetch_add(1, Ordering::Relaxed);
        match &self.authority {
            None => Ok(ServerCertVerified::assertion()),
            Some(authority) => authority.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.authority {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(authority) => authority.verify_tls13_signature(message, certificate, signature),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
