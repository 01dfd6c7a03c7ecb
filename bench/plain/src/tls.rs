//! The certificate, given or made.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate chain with its key.
pub(crate) struct Identity {
    /// The chain as PEM, for clients that are to trust it.
    pub(crate) pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new(cert: Option<&Path>, key: Option<&Path>) -> Result<Identity> {
        match (cert, key) {
            (Some(cert), Some(key)) => Identity::read(cert, key),
            _ => Identity::self_signed(),
        }
    }

    fn read(cert: &Path, key: &Path) -> Result<Identity> {
        let wrong = |path: &Path| format!("reading {}", path.display());
        let pem = std::fs::read_to_string(cert).with_context(|| wrong(cert))?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| wrong(cert))?;
        let key = PrivateKeyDer::from_pem_file(key).with_context(|| wrong(key))?;
        Ok(Identity { pem, chain, key })
    }

    fn self_signed() -> Result<Identity> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Identity {
            pem: made.cert.pem(),
            chain: vec![made.cert.der().clone()],
            key: PrivateKeyDer::from(key),
        })
    }

    /// TLS 1.3 with ALPN `h3`, by ring as in the relay.
    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Ok(tls)
    }
}
