//! Where a tunnel leads.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use http::Uri;

/// Resolves the authority of a CONNECT request.
pub(crate) async fn of_connect(uri: &Uri) -> Result<SocketAddr> {
    let host = uri.host().context("CONNECT needs an authority")?;
    let port = uri.port_u16().context("CONNECT needs a port")?;
    resolve(host, port).await
}

/// Resolves the path of a CONNECT-UDP request: the default template of RFC 9298 section 2,
/// `/.well-known/masque/udp/{target_host}/{target_port}/`.
pub(crate) async fn of_connect_udp(uri: &Uri) -> Result<SocketAddr> {
    let parts: Vec<&str> = uri.path().split('/').collect();
    let ["", ".well-known", "masque", "udp", host, port, ""] = parts[..] else {
        bail!("the path doesn't match the template");
    };
    resolve(&decode(host)?, port.parse()?).await
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
    let host = host.trim_matches(['[', ']']);
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    addresses.next().context("the name has no address")
}

/// Percent-decoding (RFC 3986 section 2.1); an IPv6 address has its colons encoded.
fn decode(text: &str) -> Result<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).context("a percent sign needs two digits")?;
        bytes.push(u8::from_str_radix(digits, 16)?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs() {
        assert_eq!(decode("2001%3Adb8%3a%3A1").unwrap(), "2001:db8::1");
        assert_eq!(decode("a.test").unwrap(), "a.test");
        for wrong in ["%", "%3", "a%zz", "%ff"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
