//! Issuance over HTTP (RFC 9578 sections 4 and 6): the issuer's directory, and one signature for
//! one POST. Plain HTTP/1.1 on loopback or a unix socket; TLS is the business of the proxy before
//! it.
//!
//! A customer shows a bearer token, and is counted against its quota in the [`Ledger`], on disk,
//! before anything is signed.

mod customers;
mod http;
mod listener;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_blind::{TOKEN_TYPE, base64url_encode};

use crate::{Error, Issuer, Ledger};
use customers::Customers;
use http::{Answer, Request};
pub use listener::{Listen, Listener};

/// Where the directory is (RFC 9578 section 4).
pub const DIRECTORY_PATH: &str = "/.well-known/private-token-issuer-directory";
/// Where requests for tokens go, as the directory says.
pub const REQUEST_PATH: &str = "/token-request";

const DIRECTORY_TYPE: &str = "application/private-token-issuer-directory";
const REQUEST_TYPE: &str = "application/private-token-request";
const RESPONSE_TYPE: &str = "application/private-token-response";
const TEXT: &str = "text/plain; charset=utf-8";

/// Connections at a time, a thread each; later ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;

/// Out of descriptors and the like: let connections end before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Signatures leave on a beat that began with the request: how long one took, which depends on the
/// key, is then nothing that a customer can measure.
const BEAT: Duration = Duration::from_millis(100);

/// What signs, for whom, and who had how much.
#[derive(Debug)]
pub struct Server {
    issuer: Issuer,
    directory: String,
    customers: PathBuf,
    ledger: PathBuf,
    /// One signature at a time.
    queue: Mutex<()>,
}

impl Server {
    /// `customers` has a line for each: name, SHA-256 of its bearer token in hex, quota of tokens.
    /// It is read again for each request.
    ///
    /// # Errors
    /// A file of customers, or a ledger, that isn't one.
    pub fn new(issuer: Issuer, customers: PathBuf, ledger: PathBuf) -> Result<Self, Error> {
        Customers::read(&customers)?;
        Ledger::open(&ledger)?;
        let directory = serde_json::json!({
            "issuer-request-uri": REQUEST_PATH,
            "token-keys": [{ "token-type": TOKEN_TYPE, "token-key": issuer.key().to_base64url() }],
        });
        let directory = directory.to_string();
        Ok(Server { issuer, directory, customers, ledger, queue: Mutex::new(()) })
    }

    /// Serves for ever. Ending it at any moment loses at most tokens that were counted and not
    /// handed out.
    pub fn run(self, listener: &Listener) -> ! {
        let server = Arc::new(self);
        let places = Arc::new(Places::default());
        loop {
            let place = Places::take(&places);
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    eprintln!("weir-token: {listener}: {error}");
                    std::thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            let server = Arc::clone(&server);
            let served = std::thread::Builder::new().spawn(move || {
                http::serve(stream, |request| server.answer(request));
                drop(place);
            });
            if let Err(error) = served {
                eprintln!("weir-token: no thread for a connection: {error}");
            }
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", DIRECTORY_PATH) => Answer {
                fields: vec![("cache-control", "max-age=3600")],
                ..Answer::of(200, DIRECTORY_TYPE, self.directory.clone())
            },
            ("POST", REQUEST_PATH) => self.sign(request).unwrap_or_else(|refusal| refusal),
            (_, DIRECTORY_PATH) => wrong_method("GET"),
            (_, REQUEST_PATH) => wrong_method("POST"),
            _ => Answer::of(404, TEXT, format!("there are {DIRECTORY_PATH} and {REQUEST_PATH}\n")),
        }
    }

    fn sign(&self, request: &Request) -> Result<Answer, Answer> {
        let came = Instant::now();
        if request.content_type.as_deref() != Some(REQUEST_TYPE) {
            return Err(Answer::of(415, TEXT, format!("the content type is {REQUEST_TYPE}\n")));
        }
        let customers = Customers::read(&self.customers).map_err(|error| broken(&error))?;
        let customer = request.bearer.as_deref().and_then(|token| customers.find(token));
        let customer = customer.ok_or_else(|| Answer {
            fields: vec![("www-authenticate", "Bearer realm=\"weir-token\"")],
            ..Answer::of(401, TEXT, "a customer's bearer token is needed\n")
        })?;
        // Not charged for what can't be signed.
        self.issuer.check(&request.body).map_err(|error| refused(&error))?;
        let turn = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let charged = Ledger::open(&self.ledger).and_then(|mut ledger| {
            ledger.charge(self.issuer.key(), &customer.name, 1, customer.quota)
        });
        charged.map_err(|error| refused(&error))?;
        let signed = self.issuer.sign(&request.body).map_err(|error| refused(&error))?;
        drop(turn);
        std::thread::sleep(to_next_beat(came.elapsed()));
        Ok(Answer::of(200, RESPONSE_TYPE, signed))
    }
}

fn to_next_beat(elapsed: Duration) -> Duration {
    let into = elapsed.as_micros() % BEAT.as_micros();
    BEAT - Duration::from_micros(u64::try_from(into).unwrap_or(0))
}

fn wrong_method(allowed: &'static str) -> Answer {
    Answer {
        fields: vec![("allow", allowed)],
        ..Answer::of(405, TEXT, format!("{allowed} only\n"))
    }
}

/// The customer's fault in its own words, ours in none of its business.
fn refused(error: &Error) -> Answer {
    match error {
        // RFC 9578 section 6.2.
        Error::Malformed { what: "TokenRequest", .. } | Error::OtherKey => {
            Answer::of(422, TEXT, format!("{error}\n"))
        }
        Error::Quota { .. } => Answer::of(403, TEXT, format!("{error}\n")),
        _ => broken(error),
    }
}

fn broken(error: &Error) -> Answer {
    eprintln!("weir-token: {error}");
    Answer::of(503, TEXT, "the issuer can't sign at the moment\n")
}

/// Counts connections, and makes the next one wait.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One connection's; free again with its end, however that comes.
struct Place(Arc<Places>);

impl Places {
    fn take(places: &Arc<Places>) -> Place {
        let taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = places.freed.wait_while(taken, |taken| *taken >= CONNECTIONS_MAX);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        Place(Arc::clone(places))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

/// How a customer's line is written.
///
/// # Errors
/// A name with blanks.
pub fn customer_line(name: &str, token: &str, quota: u64) -> Result<String, Error> {
    customers::line(name, token, quota)
}

/// A bearer token with 256 bits of randomness.
///
/// # Errors
/// When the system has none.
pub fn bearer_token() -> Result<String, Error> {
    use ring::rand::{SecureRandom as _, SystemRandom};
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::Rsa("the system has no randomness".to_owned()))?;
    Ok(base64url_encode(&bytes).trim_end_matches('=').to_owned())
}
