//! From the files that `[[service]]` names to what the desk works with.

use std::collections::BTreeMap;
use std::path::Path;

use weir_sla::Maintenance;
use weir_usage::bond::Agreement;

use super::{Desk, Service};
use crate::config::{Config, ServiceConfig};
use crate::error::Error;
use crate::keys::Wallet;

/// An agreement with what belongs to it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Signed by both sides.
    pub agreement: Agreement,
    /// As the terms name them.
    pub maintenance: Maintenance,
    /// Signs the vouchers of its channel.
    pub client: weir_usage::Address,
}

/// The usage key, which is the operator's of every agreement here.
///
/// # Errors
/// [`Error::Key`], also if none is configured.
pub fn usage_key(config: &Config) -> Result<Wallet, Error> {
    let Some(key) = &config.usage_key else {
        let reason = "a [[service]] needs a usage key, which signs its samples".to_owned();
        return Err(Error::Key { path: "[usage] key".into(), reason });
    };
    Wallet::open(key)
}

/// The desk of a configuration.
///
/// # Errors
/// [`Error::File`] for the first agreement that can't be served, and why.
pub fn load(config: &Config) -> Result<Desk, Error> {
    if config.services.is_empty() {
        return Ok(Desk::default());
    }
    let wallet = usage_key(config)?;
    let mut services = BTreeMap::new();
    for service in &config.services {
        let Loaded { agreement, client, .. } = Loaded::of(config, service)?;
        let bad = |reason: String| bad(&service.agreement, reason);
        let wallet = wallet.clone();
        let (found, operator) =
            (weir_usage::Address(wallet.address().into_array()), agreement.terms.operator);
        if found != operator {
            return Err(bad(format!("its operator is {operator}, the key is of {found}")));
        }
        let channel = agreement.terms.channel;
        let (sla, signed) = (agreement.id(), BTreeMap::new());
        let service = Service { agreement, sla, client, wallet, signed, closed: None };
        if services.insert(channel, service).is_some() {
            return Err(bad(format!("channel {channel} has another agreement already")));
        }
    }
    Ok(Desk::new(services.into_values().collect()))
}

impl Loaded {
    /// Reads what a `[[service]]` names.
    ///
    /// # Errors
    /// [`Error::File`] with the file and why it can't be served.
    pub fn of(config: &Config, service: &ServiceConfig) -> Result<Self, Error> {
        let path = &service.agreement;
        let agreement: Agreement = crate::agreement::read(path)?;
        agreement.signatures().map_err(|error| bad(path, error.to_string()))?;
        let chain_id = config.chain.domain.chain_id;
        if agreement.domain.chain_id != chain_id {
            let found = agreement.domain.chain_id;
            return Err(bad(path, format!("it is for chain {found}, configured is {chain_id}")));
        }
        let channel = config
            .channel(&agreement.terms.channel)
            .ok_or_else(|| bad(path, format!("no [[channel]] {}", agreement.terms.channel)))?;
        let maintenance = windows(service, &agreement)?;
        Ok(Self { client: channel.terms.signer, agreement, maintenance })
    }
}

/// The windows of a service, checked against the terms.
fn windows(service: &ServiceConfig, agreement: &Agreement) -> Result<Maintenance, Error> {
    let maintenance = match &service.maintenance {
        None => Maintenance::default(),
        Some(path) => crate::agreement::read_json(path, MAINTENANCE_LEN_MAX)?,
    };
    let of = service.maintenance.as_ref().unwrap_or(&service.agreement);
    maintenance.must_be_of(&agreement.terms).map_err(|error| bad(of, error.to_string()))?;
    Ok(maintenance)
}

/// All windows that an agreement may have are a third of this.
const MAINTENANCE_LEN_MAX: u64 = 1 << 20;

fn bad(path: &Path, reason: String) -> Error {
    Error::File { path: path.to_owned(), reason }
}
