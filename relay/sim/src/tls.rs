//! One self-signed certificate for all worlds of a process.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in the certificate.
pub const SERVER_NAME: &str = "relay.test";

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])
            .expect("a key pair can be made");
        Identity {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()),
        }
    })
}

/// AES-128-GCM first, as the relay has it on CPUs with AES.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != ring::cipher_suite::TLS13_AES_128_GCM_SHA256.suite());
    Arc::new(provider)
}

pub fn server() -> Arc<rustls::ServerConfig> {
    let identity = identity();
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![identity.certificate.clone()],
            PrivateKeyDer::Pkcs8(identity.key.clone_key()),
        )
        .expect("the certificate matches its key");
    config.ignore_client_order = true;
    config.ticketer = ring::Ticketer::new().expect("randomness");
    Arc::new(config)
}

pub fn client() -> Arc<rustls::ClientConfig> {
    client_of(certificate())
}

/// The certificate of this process's relays.
pub fn certificate() -> CertificateDer<'static> {
    identity().certificate.clone()
}

/// For the relays of another process, which have this certificate.
pub fn client_of(certificate: CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("the certificate is valid");
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Arc::new(config)
}
