//! Whom to believe that it is the relay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{Error, Trust, hex};

/// Where distributions keep the bundle of root certificates.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS 1.3 with ALPN `h3` and without early data: a replayed CONNECT would open a tunnel.
pub(super) fn config(trust: &Trust) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::config("trust", error.to_string()))?;
    let mut config = match trust {
        Trust::System => builder.with_root_certificates(roots(&system_bundle()?)?),
        Trust::CaFile(path) => builder.with_root_certificates(roots(path)?),
        Trust::Pinned(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier { pin: *pin, provider })),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(config)
}

fn system_bundle() -> Result<PathBuf, Error> {
    let from_environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    from_environment.into_iter().chain(known).find(|path| path.exists()).ok_or_else(|| {
        Error::config(
            "trust",
            "this system has no bundle of root certificates (package ca-certificates); \
             give a CA file or pin the relay's certificate",
        )
    })
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |problem: String| Error::file("CA file", path, problem);
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        // Bundles hold the odd certificate that rustls can't use; that is no reason to fail.
        store.add_parsable_certificates([certificate]);
    }
    if store.is_empty() {
        return Err(wrong("holds no usable PEM certificate".into()));
    }
    Ok(store)
}

/// Accepts exactly one certificate. The handshake's signature is still checked, so the peer must
/// hold its key.
#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = ring::digest::digest(&ring::digest::SHA256, end_entity);
        if shown.as_ref() == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "pinned certificate mismatch: relay shows sha256:{}, pinned is sha256:{}",
            hex::encode(shown.as_ref()),
            hex::encode(&self.pin)
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
