//! The Proxy-Status field (RFC 9209).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::Field;
use crate::structured::{push_string, push_token_or_string};

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal;)*) => {
        /// Proxy error types (RFC 9209 §2.3) that an exit relay can have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProxyError {
            $($(#[$doc])* $variant,)*
        }

        impl ProxyError {
            /// Every type, for tables of metrics and documents.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The registered name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status that goes with it: the one that RFC 9209 recommends, but for
            /// [`Self::DestinationIpProhibited`].
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

errors! {
    /// No answer from the DNS in time.
    DnsTimeout = "dns_timeout", 504;
    /// The DNS said no; `rcode` says which way.
    DnsError = "dns_error", 502;
    /// There is no such target.
    DestinationNotFound = "destination_not_found", 500;
    /// The target is known not to be usable now.
    DestinationUnavailable = "destination_unavailable", 503;
    /// The exit policy forbids the target's address. RFC 9209 recommends 502; 403 says that it is
    /// a decision and that trying again is of no use.
    DestinationIpProhibited = "destination_ip_prohibited", 403;
    /// No route to the target.
    DestinationIpUnroutable = "destination_ip_unroutable", 502;
    /// The target refused the connection.
    ConnectionRefused = "connection_refused", 502;
    /// The target closed the connection too early.
    ConnectionTerminated = "connection_terminated", 502;
    /// The target did not answer in time.
    ConnectionTimeout = "connection_timeout", 504;
    /// The target sent nothing for too long.
    ConnectionReadTimeout = "connection_read_timeout", 504;
    /// The target took nothing for too long.
    ConnectionWriteTimeout = "connection_write_timeout", 504;
    /// The relay has no more descriptors, ports or tunnels to give.
    ConnectionLimitReached = "connection_limit_reached", 503;
    /// The request is wrong; its status says how.
    HttpRequestError = "http_request_error", 400;
    /// Policy forbids the request.
    HttpRequestDenied = "http_request_denied", 403;
    /// The upgrade to a tunnel failed.
    HttpUpgradeFailed = "http_upgrade_failed", 502;
    /// The relay failed.
    ProxyInternalError = "proxy_internal_error", 500;
    /// The relay is configured wrongly.
    ProxyConfigurationError = "proxy_configuration_error", 500;
    /// The target is the relay itself.
    ProxyLoopDetected = "proxy_loop_detected", 502;
}

/// One member of a Proxy-Status list. Start from [`ProxyStatus::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyStatus<'a> {
    /// The name by which this relay wants to be known.
    pub proxy: &'a str,
    /// What went wrong; `None` on success.
    pub error: Option<ProxyError>,
    /// The address of the target that was chosen (RFC 9209 §2.1.2).
    pub next_hop: Option<IpAddr>,
    /// The DNS response code by name, such as `NXDOMAIN` (RFC 9209 §2.3.2). Only goes out with
    /// [`ProxyError::DnsError`].
    pub rcode: Option<&'a str>,
    /// A sentence for a person (RFC 9209 §2.1.5); must hold nothing that the client may not know.
    pub details: Option<&'a str>,
}

impl<'a> ProxyStatus<'a> {
    /// The relay's name alone.
    pub const fn of(proxy: &'a str) -> Self {
        Self { proxy, error: None, next_hop: None, rcode: None, details: None }
    }

    /// The value of the field, a structured field (RFC 9651).
    pub fn value(&self) -> String {
        let mut value = String::new();
        push_token_or_string(self.proxy, &mut value);
        if let Some(error) = self.error {
            value.push_str(";error=");
            value.push_str(error.name());
        }
        if let (Some(ProxyError::DnsError), Some(rcode)) = (self.error, self.rcode) {
            value.push_str(";rcode=");
            push_string(rcode, &mut value);
        }
        if let Some(next_hop) = self.next_hop {
            write!(value, ";next-hop=\"{next_hop}\"").expect("a String takes everything");
        }
        if let Some(details) = self.details {
            value.push_str(";details=");
            push_string(details, &mut value);
        }
        value
    }

    /// The whole field.
    pub fn field(&self) -> Field {
        Field::new("proxy-status", self.value())
    }
}
