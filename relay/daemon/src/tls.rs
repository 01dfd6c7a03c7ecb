//! The relay's certificate and its TLS settings.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::config::TlsConfig;

/// Tickets per handshake: a client that reconnects uses one and gets the next. QUIC sends a lost
/// one again, and each costs a key derivation and an encryption.
const TICKETS: usize = 1;

/// What is wrong with the certificate or its key; all of it is the operator's to fix.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("certificate {}: {reason}", path.display())]
    Cert { path: PathBuf, reason: String },
    #[error("key {}: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error("key {} doesn't belong to certificate {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error("self-signed certificate in {}: {reason}", dir.display())]
    SelfSigned { dir: PathBuf, reason: String },
    #[error("TLS can't be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A certificate that is ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub server: Arc<rustls::ServerConfig>,
    /// SHA-256 of the end-entity certificate (DER), in hex: what a client can pin.
    pub fingerprint: String,
}

/// Reads the certificate and key, or makes them for a lab, and checks that they fit.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn load(config: &TlsConfig, run_dir: &Path) -> Result<Identity, TlsError> {
    let (cert, key) = match config {
        TlsConfig::Files { cert, key } => (cert.clone(), key.clone()),
        TlsConfig::SelfSigned { names } => self_signed(names, run_dir)?,
    };
    let chain = read_chain(&cert)?;
    let secret = read_key(&key)?;
    let end_entity = chain[0].clone();
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::new(suites()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { cert: cert.clone(), key: key.clone() }
            }
            other => TlsError::Key { path: key.clone(), reason: other.to_string() },
        })?;
    server.alpn_protocols = vec![b"h3".to_vec()];
    // The order of `suites` knows this host's CPU; the client's doesn't.
    server.ignore_client_order = true;
    server.send_tls13_tickets = TICKETS;
    server.ticketer = provider::Ticketer::new()?;
    Ok(Identity { server: Arc::new(server), fingerprint: fingerprint(&end_entity) })
}

/// AES-128-GCM first where the CPU has instructions for it, else ChaCha20-Poly1305.
fn suites() -> CryptoProvider {
    use provider::cipher_suite as suite;
    let (aes128, aes256, chacha) = (
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    );
    let cipher_suites =
        if has_aes() { vec![aes128, aes256, chacha] } else { vec![chacha, aes128, aes256] };
    CryptoProvider { cipher_suites, ..provider::default_provider() }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::Cert { path: path.to_owned(), reason };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| wrong(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong("holds no BEGIN CERTIFICATE block".to_owned()));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |reason: String| TlsError::Key { path: path.to_owned(), reason };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    // The parser's message may quote the input; a key must not reach the log.
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| wrong("holds no usable BEGIN PRIVATE KEY block".to_owned()))
}

fn fingerprint(cert: &CertificateDer<'_>) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, cert);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

/// The lab certificate of an earlier start, so that pins stay good, or a new one.
fn self_signed(names: &[String], run_dir: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let wrong = |reason: String| TlsError::SelfSigned { dir: run_dir.to_owned(), reason };
    let (cert, key) = (run_dir.join("self-signed.crt"), run_dir.join("self-signed.key"));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let pair = rcgen::KeyPair::generate().map_err(|error| wrong(error.to_string()))?;
    let made = rcgen::CertificateParams::new(names.to_vec())
        .and_then(|params| params.self_signed(&pair))
        .map_err(|error| wrong(error.to_string()))?;
    fs::create_dir_all(run_dir).map_err(|error| wrong(error.to_string()))?;
    let mut file = fs::OpenOptions::new();
    file.write(true).create(true).truncate(true).mode(0o600);
    file.open(&key)
        .and_then(|mut file| file.write_all(pair.serialize_pem().as_bytes()))
        .and_then(|()| fs::write(&cert, made.pem()))
        .map_err(|error| wrong(error.to_string()))?;
    Ok((cert, key))
}
