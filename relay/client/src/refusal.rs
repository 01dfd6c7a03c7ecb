//! Why one tunnel could not be opened, in the terms of the relay's answer (RFC 9209) and of the
//! application's protocol.

use std::fmt;

use http::{HeaderMap, StatusCode};

/// A tunnel that was not opened, and whose fault that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    /// The relay's status, when it answered.
    pub(crate) status: Option<StatusCode>,
    /// Its `Proxy-Status` field, or what went wrong on the way to it.
    pub(crate) detail: String,
    /// What keeps this client from paying, where that is the reason.
    pub(crate) unpaid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The exit's policy forbids the target.
    Prohibited,
    /// The target refused the connection.
    ConnectionRefused,
    /// The name does not resolve, or the target is gone.
    HostUnreachable,
    /// No route from the exit.
    NetworkUnreachable,
    /// DNS or the target did not answer in time.
    TimedOut,
    /// The relay does not accept our token.
    Unauthorized,
    /// As much is unpaid as the exit allows.
    CreditUsedUp,
    /// The grant has as many tunnels as it may.
    TooManyTunnels,
    /// Too many requests from here had no valid credential.
    TooManyAttempts,
    /// The relay has no room, or doesn't say of what there is too much.
    Busy,
    /// What the relay wants to be paid is not known, or not what was agreed.
    Terms,
    /// The connection to the relay is down, or the local tables are full.
    RelayUnavailable,
    /// Anything else the relay said.
    Other,
}

/// Enough for every registered error and its details; the rest is not shown.
const DETAIL_BYTES_MAX: usize = 512;

/// What Weir's relay says with 429, by which one sees what there is too much of.
const DETAILS_OF_429: [(&str, Cause); 3] = [
    ("the credit of this grant is used up", Cause::CreditUsedUp),
    ("this grant has as many tunnels as it may", Cause::TooManyTunnels),
    ("too many requests without a valid credential", Cause::TooManyAttempts),
];

impl Refusal {
    /// From a response that is not 2xx.
    pub(crate) fn from_response(status: StatusCode, headers: &HeaderMap) -> Refusal {
        let field = headers.get("proxy-status").and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut detail = field.to_owned();
        detail.truncate(DETAIL_BYTES_MAX);
        let by_status = || cause_of_status(status, parameter(field, "details"));
        let cause = match parameter(field, "error") {
            // Policy, credentials and limits are all called this; the status tells them apart.
            Some("http_request_denied") => match by_status() {
                Cause::Other => Cause::Prohibited,
                cause => cause,
            },
            Some(error) => cause_of_error(error).unwrap_or_else(by_status),
            None => by_status(),
        };
        Refusal { cause, status: Some(status), detail, unpaid: None }
    }

    pub(crate) fn unavailable(detail: impl fmt::Display) -> Refusal {
        Refusal::own(Cause::RelayUnavailable, detail)
    }

    /// Nothing was asked of the relay.
    pub(crate) fn own(cause: Cause, detail: impl fmt::Display) -> Refusal {
        Refusal { cause, status: None, detail: detail.to_string(), unpaid: None }
    }

    /// The reply code of RFC 1928 section 6.
    pub(crate) fn socks_reply(&self) -> u8 {
        match self.cause {
            Cause::Prohibited => 0x02,
            Cause::NetworkUnreachable => 0x03,
            Cause::HostUnreachable => 0x04,
            Cause::ConnectionRefused => 0x05,
            // "TTL expired" is the closest RFC 1928 has to a timeout, and what clients show as one.
            Cause::TimedOut => 0x06,
            // Not 0x02, "not allowed by ruleset": other targets would fare no better.
            Cause::Unauthorized
            | Cause::CreditUsedUp
            | Cause::TooManyTunnels
            | Cause::TooManyAttempts
            | Cause::Busy
            | Cause::Terms
            | Cause::RelayUnavailable
            | Cause::Other => 0x01,
        }
    }

    /// The status for an HTTP proxy client. A 401 or 407 of the relay is about *our* token: handed
    /// on, it would make a browser ask its user for a password. Its 429 for lack of credit would
    /// make programs try again later, which alone is of no use.
    pub(crate) fn http_status(&self) -> StatusCode {
        match self.cause {
            Cause::Unauthorized => StatusCode::BAD_GATEWAY,
            Cause::CreditUsedUp => StatusCode::PAYMENT_REQUIRED,
            Cause::RelayUnavailable | Cause::Terms => StatusCode::SERVICE_UNAVAILABLE,
            _ => self.status.unwrap_or(StatusCode::BAD_GATEWAY),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            Cause::Prohibited => "the exit's policy forbids this target; use another exit for it",
            Cause::ConnectionRefused => "the target refused the connection",
            Cause::HostUnreachable => "the target does not exist or can't be reached",
            Cause::NetworkUnreachable => "the exit has no route to the target",
            Cause::TimedOut => "the target or its name server did not answer in time",
            Cause::Unauthorized => {
                "the relay refused the credential; check the configured token, or put further blind \
                 tokens into the wallet"
            }
            Cause::CreditUsedUp => {
                "the credit of this grant is used up; the exit goes on once a voucher covers what \
                 was used, and `weir client usage` shows what keeps it from being signed"
            }
            Cause::TooManyTunnels => {
                "this grant has as many tunnels open as it may; close some, or have the exit's \
                 operator allow more"
            }
            Cause::TooManyAttempts => {
                "too many requests without a valid credential came from here; check the configured \
                 token, and wait a minute"
            }
            Cause::Busy => "the relay takes no more at the moment; try again later",
            Cause::Terms => "nothing goes to the relay before its terms are agreed to",
            Cause::RelayUnavailable => "no working connection to the relay",
            Cause::Other => "the relay refused the tunnel",
        })?;
        if let Some(unpaid) = &self.unpaid {
            write!(f, ": {unpaid}")?;
        }
        if let Some(status) = self.status {
            write!(f, " (relay: {})", status.as_u16())?;
        }
        if !self.detail.is_empty() {
            write!(f, " [{}]", self.detail)?;
        }
        Ok(())
    }
}

/// A parameter, unquoted, of the last list member that has it: the member nearest to us.
fn parameter<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    let mut quoted = false;
    let parameters = field.split(|c| {
        quoted ^= c == '"';
        !quoted && (c == ';' || c == ',')
    });
    for parameter in parameters {
        if let Some((key, value)) = parameter.trim().split_once('=')
            && key == name
        {
            found = Some(value.trim_end().trim_matches('"'));
        }
    }
    found
}

/// Registered in RFC 9209 section 2.3.
fn cause_of_error(error: &str) -> Option<Cause> {
    Some(match error {
        "destination_ip_prohibited" => Cause::Prohibited,
        "connection_refused" => Cause::ConnectionRefused,
        "dns_error" | "destination_not_found" | "destination_unavailable" => Cause::HostUnreachable,
        "destination_ip_unroutable" => Cause::NetworkUnreachable,
        "dns_timeout" | "connection_timeout" => Cause::TimedOut,
        "connection_limit_reached" => Cause::Busy,
        "connection_terminated" => Cause::ConnectionRefused,
        _ => return None,
    })
}

fn cause_of_status(status: StatusCode, details: Option<&str>) -> Cause {
    let told = || DETAILS_OF_429.iter().find(|(text, _)| details == Some(text));
    match status.as_u16() {
        401 | 407 => Cause::Unauthorized,
        402 => Cause::CreditUsedUp,
        429 => told().map_or(Cause::Busy, |(_, cause)| *cause),
        503 => Cause::Busy,
        403 => Cause::Prohibited,
        504 => Cause::TimedOut,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, proxy_status: &str) -> Refusal {
        let mut headers = HeaderMap::new();
        headers.insert("proxy-status", proxy_status.parse().unwrap());
        Refusal::from_response(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn replies_follow_the_proxy_status_error_before_the_status() {
        for (status, proxy_status, reply, http) in [
            (403, "weir; error=destination_ip_prohibited", 0x02, 403),
            (502, "weir; error=destination_ip_prohibited", 0x02, 502),
            (502, "weir; error=connection_refused", 0x05, 502),
            (502, "weir;error=dns_error;rcode=\"NXDOMAIN\"", 0x04, 502),
            (502, "weir; error=destination_ip_unroutable", 0x03, 502),
            (504, "weir; error=connection_timeout", 0x06, 504),
            (504, "", 0x06, 504),
            (407, "", 0x01, 502),
            (407, "weir; error=http_request_denied", 0x01, 502),
            (403, "weir; error=http_request_denied", 0x02, 403),
            (502, "weir; error=http_request_denied", 0x02, 502),
            (503, "weir; error=http_request_denied", 0x01, 503),
            (429, "", 0x01, 429),
            (402, "", 0x01, 402),
            (500, "weir; error=proxy_internal_error", 0x01, 500),
            (502, "far; error=connection_refused, weir; error=dns_error", 0x04, 502),
            (502, "weir; details=\"; error=dns_error\"; error=connection_refused", 0x05, 502),
        ] {
            let refusal = refusal(status, proxy_status);
            assert_eq!(refusal.socks_reply(), reply, "{status} {proxy_status:?}");
            assert_eq!(refusal.http_status().as_u16(), http, "{status} {proxy_status:?}");
        }
    }

    #[test]
    fn each_429_says_what_there_is_too_much_of_and_what_to_do() {
        for (details, reply, http, words) in [
            ("the credit of this grant is used up", 0x01, 402, "`weir client usage` shows"),
            ("this grant has as many tunnels as it may", 0x01, 429, "close some"),
            ("too many requests without a valid credential", 0x01, 429, "wait a minute"),
            ("of a kind that a later relay may know", 0x01, 429, "try again later"),
        ] {
            let said = format!("exit;error=http_request_denied;details=\"{details}\"");
            let refusal = refusal(429, &said);
            assert_eq!(refusal.socks_reply(), reply, "{details}");
            assert_eq!(refusal.http_status().as_u16(), http, "{details}");
            let text = refusal.to_string();
            assert!(text.contains(words) && text.contains(&said), "{text}");
            assert!(!text.contains("policy"), "{text}");
        }
    }

    #[test]
    fn used_up_credit_comes_with_what_keeps_it_from_being_paid() {
        let mut refusal = refusal(429, "a;details=\"the credit of this grant is used up\"");
        refusal.unpaid = Some("the budget in all is 5 units".to_owned());
        let text = refusal.to_string();
        assert!(text.contains("from being signed: the budget in all is 5 units (relay: 429)"));
    }
}
