//! `weir run`: from a configuration to a relay that serves, and to its orderly end.

mod assemble;
mod reload;
mod serve;

use std::path::Path;

use crate::config::{Config, check};
use crate::failure::Failure;
use crate::{logging, privileges};

/// Runs until a signal ends it.
///
/// # Errors
/// Why it couldn't start, or what broke.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    check::environment(&config)?;
    logging::start(&config.log);
    privileges::forbid_new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.into()))?;
    // Entered before the sockets are opened, because the admin listener registers with it.
    let assembled = {
        let _entered = runtime.enter();
        assemble::assemble(config)?
    };
    runtime.block_on(serve::serve(assembled))
}
