//! `weir check`.

use std::path::Path;

use crate::config::{Config, check};
use crate::failure::Failure;

/// Says that a configuration is good, or everything that is wrong with it.
///
/// # Errors
/// With every mistake, in the order of the file.
pub fn check(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    check::environment(&config)?;
    println!(
        "{}: good; {} worker(s), {} grant(s), xdp {}, settlement {}",
        file.display(),
        config.relay.workers,
        config.grants.len(),
        config.xdp.mode.word(),
        if config.settle.is_some() { "on" } else { "off" },
    );
    Ok(())
}
