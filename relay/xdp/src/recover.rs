//! What a crashed predecessor counted.

use std::sync::Arc;

use weir_abi::{ABI_VERSION, Config};

use crate::counters::Counters;
use crate::error::{Result, XdpError};
use crate::flows::FlowTable;
use crate::maps::Maps;
use crate::pins::PinDir;
use crate::sys::mapping::Mapping;
use crate::table::Table;

/// The maps of a run that ended without [`Packets::stop`](crate::Packets::stop). They no longer
/// change: the programs went with the process.
#[derive(Debug)]
pub struct Leftover {
    dir: PinDir,
    maps: Maps,
    table: Arc<Table>,
    sent: Arc<Mapping>,
}

/// Opens the maps that the last run of `instance` left pinned; `None` if it stopped cleanly or
/// never was. Their counts are to be exported and then discarded, before the next start.
///
/// # Errors
/// [`XdpError::InstanceBusy`] if that run is alive, [`XdpError::AbiVersion`] or
/// [`XdpError::ForeignMap`] if another version wrote them.
pub fn recover(instance: &str) -> Result<Option<Leftover>> {
    let Some(dir) = PinDir::take_over(instance)? else { return Ok(None) };
    let maps = Maps::open_pinned(dir.path())?;
    let config = maps.config.get(&0).map_err(XdpError::system("can't read a pinned map"))?;
    let config = config.and_then(|values| values.first().copied()).unwrap_or(Config::EMPTY);
    let found = config.abi_version;
    if found != ABI_VERSION {
        return Err(XdpError::AbiVersion {
            what: format!("the pinned configuration in {}", dir.path().display()),
            found,
            expected: ABI_VERSION,
            remedy: "start the version that wrote it once and stop it cleanly, or give up its last counts and remove the directory",
        });
    }
    let unmapped = || XdpError::system("can't map a pinned map");
    let table = Arc::new(Table::open(&maps, config.hash_key).map_err(unmapped())?);
    let sent = Arc::new(maps.sent.mapping().map_err(unmapped())?);
    Ok(Some(Leftover { dir, maps, table, sent }))
}

impl Leftover {
    /// The flows that were open.
    #[must_use]
    pub fn flows(&self) -> FlowTable {
        FlowTable { table: Arc::clone(&self.table) }
    }

    /// The other counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::new(&self.maps, Arc::clone(&self.sent))
    }

    /// Unpins the maps; with this and all handles gone, the kernel frees them.
    pub fn discard(self) -> Result<()> {
        self.dir.remove()
    }
}
