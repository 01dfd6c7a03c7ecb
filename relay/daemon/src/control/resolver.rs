//! Names to addresses, with a cache that all workers share.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use weir_core::ResolveError;

use crate::config::DnsConfig;

/// A server gets a second chance within the time that a name has.
const ATTEMPTS: usize = 2;

/// A record that says "cache me for a year" is looked at again after a day.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// At most so many addresses of a name are handed to the engine, which tries them in turn.
const ADDRESSES_MAX: usize = 16;

/// Asks the configured servers, or those of the host.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    inner: TokioResolver,
    timeout: Duration,
}

impl Resolver {
    /// # Errors
    /// When the host's own resolver configuration is asked for and can't be read.
    pub(crate) fn new(config: &DnsConfig) -> Result<Self, NetError> {
        let mut builder = if config.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = config.servers.iter().map(|server| {
                let mut by_udp = ConnectionConfig::udp();
                let mut by_tcp = ConnectionConfig::tcp();
                by_udp.port = server.port();
                by_tcp.port = server.port();
                NameServerConfig::new(server.ip(), true, vec![by_udp, by_tcp])
            });
            let servers = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = config.cache_entries;
        options.positive_max_ttl = Some(TTL_MAX);
        options.attempts = ATTEMPTS;
        options.timeout = config.timeout / ATTEMPTS as u32;
        // What this host calls its neighbours is none of the clients' business.
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self { inner: builder.build()?, timeout: config.timeout })
    }

    /// The addresses of a name, IPv6 and IPv4 in turn so that both get tried early (RFC 8305
    /// section 4).
    ///
    /// # Errors
    /// Why there are none, as far as the servers say.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        // With its final dot the name is tried as it is, without the host's search domains.
        let absolute = if name.ends_with('.') { name.to_owned() } else { format!("{name}.") };
        let lookup = self.inner.lookup_ip(absolute);
        let found = match tokio::time::timeout(self.timeout, lookup).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(classify(&error)),
            Err(_) => return Err(ResolveError::Timeout),
        };
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(|ip| ip.is_ipv6());
        let addresses = interleave(v6, v4);
        if addresses.is_empty() { Err(ResolveError::NoData) } else { Ok(addresses) }
    }
}

fn interleave(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    while all.len() < ADDRESSES_MAX {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        all.extend(pair.into_iter().flatten());
    }
    all.truncate(ADDRESSES_MAX);
    all
}

fn classify(error: &NetError) -> ResolveError {
    if error.is_nx_domain() {
        return ResolveError::NoSuchName;
    }
    let code = match error {
        NetError::Timeout => return ResolveError::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        _ => return ResolveError::Other,
    };
    match code {
        ResponseCode::NoError => ResolveError::NoData,
        ResponseCode::NXDomain => ResolveError::NoSuchName,
        ResponseCode::Refused => ResolveError::Refused,
        ResponseCode::ServFail => ResolveError::ServerFailure,
        _ => ResolveError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let v6: Vec<IpAddr> = vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let v4: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        let both = interleave(v6.clone(), v4.clone());
        assert_eq!(both, [v6[0], v4[0], v6[1]]);
    }
}
