//! The object in the kernel: loaded and verified, not attached to anything.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use aya::maps::{Map as AyaMap, MapData};
use aya::programs::{Program, SchedClassifier, SkReuseport, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, TestRun as _};
use weir_abi::table::{self, HashKey};
use weir_abi::{
    ABI_SECTION, ABI_VERSION, Config, FLOWS_MAX_MAX, LISTEN_MAX, Listen, XSK_INTERFACES_MAX, map,
    program,
};

use crate::counters::Counters;
use crate::elf;
use crate::error::{Result, XdpError};
use crate::flows::FlowTable;
use crate::maps::Maps;
use crate::sent::Sender;
use crate::steering::Steering;
use crate::sys::mapping::Mapping;
use crate::sys::random;
use crate::table::Table;
use crate::xsks::XskMap;

/// The committed object, as `cargo xtask ebpf build` made it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../ebpf/object/weir.bpf.o"
));

/// The programs and their maps. Dropping it unloads them.
#[derive(Debug)]
pub struct Programs {
    ebpf: Ebpf,
    maps: Maps,
    table: Arc<Table>,
    sent: Arc<Mapping>,
}

/// One run of a program on a frame in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What the program returned: an `xdp_action`, or a tc action.
    pub action: u32,
    /// Mean over the repetitions.
    pub nanoseconds: u32,
}

/// What the kernel says about one loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub name: String,
    pub id: u32,
    /// Instructions the verifier looked at, over all paths.
    pub verified_instructions: u32,
    /// Bytes after verification.
    pub translated_len_bytes: u32,
    /// Bytes of machine code; 0 if the kernel interprets.
    pub machine_code_len_bytes: u32,
    /// Memory the program takes.
    pub memory_bytes: u32,
}

impl Programs {
    /// Loads and verifies `object` (normally [`OBJECT`]) with room for `flows_max` exit flows.
    ///
    /// # Errors
    /// [`XdpError::AbiVersion`] if the object was built for another version, [`XdpError::Load`]
    /// with the verifier's words if the kernel refuses it, [`XdpError::FlowsMax`].
    pub fn load(object: &[u8], flows_max: u32) -> Result<Self> {
        check_abi(object)?;
        if flows_max == 0 || flows_max > FLOWS_MAX_MAX {
            return Err(XdpError::FlowsMax { asked: flows_max, max: FLOWS_MAX_MAX });
        }
        let ebpf = EbpfLoader::new()
            .map_max_entries(map::BUCKETS, table::buckets(flows_max))
            .map_max_entries(map::SLOTS, flows_max)
            .map_max_entries(map::FLOWS, flows_max)
            .map_max_entries(map::FLOW_SENT, flows_max)
            .load(object)
            .map_err(|error| XdpError::Load(Box::new(error)))?;
        let maps = Maps::open(|name| map_fd(&ebpf, name))?;
        let unmapped = XdpError::system("can't map the flow table");
        let table = Table::open(&maps, hash_key()?).map_err(unmapped)?;
        let sent = maps.sent.mapping().map_err(XdpError::system("can't map the sent counters"))?;
        let mut programs = Self { ebpf, maps, table: Arc::new(table), sent: Arc::new(sent) };
        programs.ingress()?.load().map_err(XdpError::program(program::INGRESS))?;
        programs.ingress_tc()?.load().map_err(XdpError::program(program::INGRESS_TC))?;
        programs.egress()?.load().map_err(XdpError::program(program::EGRESS))?;
        programs.steer()?.load().map_err(XdpError::program(program::STEER))?;
        Ok(programs)
    }

    /// Tells the packet path where the relay listens. Until then every packet passes.
    pub fn configure(&self, listen: &[SocketAddr]) -> Result<()> {
        let mut config = self.config()?;
        config.abi_version = ABI_VERSION;
        config.bucket_mask = self.table.bucket_mask();
        config.hash_key = self.table.hash_key();
        config.listen = listeners(listen)?;
        self.set_config(&config)
    }

    /// Tells the packet path from which interfaces packets of at most `frame_len_max` bytes may go
    /// to AF_XDP sockets; `None`: from nowhere.
    pub fn redirect(&self, interfaces: &[u32], frame_len_max: Option<u32>) -> Result<()> {
        let mut config = self.config()?;
        config.interfaces = [0; XSK_INTERFACES_MAX];
        for (slot, if_index) in config.interfaces.iter_mut().zip(interfaces) {
            *slot = *if_index;
        }
        config.redirect_len_max = frame_len_max.unwrap_or(0);
        self.set_config(&config)
    }

    fn config(&self) -> Result<Config> {
        let read = self.maps.config.get(&0);
        let values = read.map_err(XdpError::system("can't read the configuration map"))?;
        Ok(values.and_then(|values| values.first().copied()).unwrap_or(Config::EMPTY))
    }

    fn set_config(&self, config: &Config) -> Result<()> {
        self.maps
            .config
            .set(&0, config, 0)
            .map_err(XdpError::system("can't write the configuration map"))
    }

    /// Runs the XDP program `repeat` times on a frame.
    pub fn run_ingress(&mut self, frame: &[u8], repeat: u32) -> Result<Ran> {
        let options = run_options(frame, repeat);
        self.ingress()?.test_run(options).map(ran).map_err(XdpError::program(program::INGRESS))
    }

    /// Runs the tc program of ingress `repeat` times on a frame.
    pub fn run_ingress_tc(&mut self, frame: &[u8], repeat: u32) -> Result<Ran> {
        let options = run_options(frame, repeat);
        let ran = self.ingress_tc()?.test_run(options).map(ran);
        ran.map_err(XdpError::program(program::INGRESS_TC))
    }

    /// Runs the tc program of egress `repeat` times on a frame.
    pub fn run_egress(&mut self, frame: &[u8], repeat: u32) -> Result<Ran> {
        let options = run_options(frame, repeat);
        self.egress()?.test_run(options).map(ran).map_err(XdpError::program(program::EGRESS))
    }

    /// What the verifier and the JIT made of each program.
    pub fn statistics(&self) -> Result<Vec<Statistics>> {
        [program::INGRESS, program::INGRESS_TC, program::EGRESS, program::STEER]
            .into_iter()
            .map(|name| self.statistics_of(name))
            .collect()
    }

    /// The exit flow table.
    #[must_use]
    pub fn flows(&self) -> FlowTable {
        FlowTable { table: Arc::clone(&self.table) }
    }

    /// The map of AF_XDP sockets, of the interfaces that [`Self::redirect`] was told.
    #[must_use]
    pub fn xsks(&self, interfaces: &[u32]) -> XskMap {
        XskMap::new(&self.maps, interfaces)
    }

    /// Counts what `worker` sends through AF_XDP sockets. One for each worker, no more.
    ///
    /// # Errors
    /// [`XdpError::NoSuchWorker`].
    pub fn sender(&self, worker: u32) -> Result<Sender> {
        Sender::new(Arc::clone(&self.table), Arc::clone(&self.sent), worker)
    }

    /// Verdict, unattributed and steering counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::new(&self.maps, Arc::clone(&self.sent))
    }

    /// The reuseport side.
    pub fn steering(&self) -> Result<Steering> {
        let fd = self.program_fd(program::STEER)?;
        let fd = fd.try_clone_to_owned().map_err(XdpError::system("can't copy a descriptor"))?;
        Ok(Steering::new(&self.maps, fd))
    }

    pub(crate) fn ingress(&mut self) -> Result<&mut Xdp> {
        self.program_mut(program::INGRESS)?.try_into().map_err(XdpError::program(program::INGRESS))
    }

    pub(crate) fn ingress_tc(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.program_mut(program::INGRESS_TC)?;
        program.try_into().map_err(XdpError::program(program::INGRESS_TC))
    }

    pub(crate) fn egress(&mut self) -> Result<&mut SchedClassifier> {
        self.program_mut(program::EGRESS)?.try_into().map_err(XdpError::program(program::EGRESS))
    }

    fn steer(&mut self) -> Result<&mut SkReuseport> {
        self.program_mut(program::STEER)?.try_into().map_err(XdpError::program(program::STEER))
    }

    /// Pins the map `name` at `path`.
    pub(crate) fn pin(&self, name: &'static str, path: &Path) -> Result<()> {
        let map = self.ebpf.map(name).ok_or(XdpError::Object("a map is missing"))?;
        map.pin(path).map_err(|error| XdpError::File {
            what: "can't pin a map at",
            path: path.into(),
            source: std::io::Error::other(error),
        })
    }

    fn program_mut(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf.program_mut(name).ok_or(XdpError::Object("a program is missing"))
    }

    fn program_fd(&self, name: &'static str) -> Result<BorrowedFd<'_>> {
        let program = self.ebpf.program(name).ok_or(XdpError::Object("a program is missing"))?;
        program.fd().map(|fd| fd.as_fd()).map_err(XdpError::program(name))
    }

    fn statistics_of(&self, name: &'static str) -> Result<Statistics> {
        let program = self.ebpf.program(name).ok_or(XdpError::Object("a program is missing"))?;
        let info = program.info().map_err(XdpError::program(name))?;
        Ok(Statistics {
            name: name.to_owned(),
            id: info.id(),
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            translated_len_bytes: info.size_translated().unwrap_or(0),
            machine_code_len_bytes: info.size_jitted(),
            memory_bytes: info.memory_locked().map_err(XdpError::program(name))?,
        })
    }
}

/// Compares the version in the object's own section.
fn check_abi(object: &[u8]) -> Result<()> {
    let version = elf::section(object, ABI_SECTION)?
        .and_then(|section| section.first_chunk())
        .ok_or(XdpError::Object("it carries no ABI version"))?;
    let found = u32::from_le_bytes(*version);
    if found == ABI_VERSION {
        return Ok(());
    }
    Err(XdpError::AbiVersion {
        what: "the BPF object".to_owned(),
        found,
        expected: ABI_VERSION,
        remedy: "rebuild it with `cargo xtask ebpf build`",
    })
}

fn map_fd(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd> {
    let map = ebpf.map(name).ok_or(XdpError::Object("a map is missing"))?;
    let data = map_data(map).ok_or(XdpError::Object("a map has an unexpected type"))?;
    data.fd().as_fd().try_clone_to_owned().map_err(XdpError::system("can't copy a map descriptor"))
}

fn map_data(map: &AyaMap) -> Option<&MapData> {
    match map {
        AyaMap::Array(data)
        | AyaMap::PerCpuArray(data)
        | AyaMap::ReusePortSockArray(data)
        | AyaMap::XskMap(data) => Some(data),
        _ => None,
    }
}

fn listeners(addresses: &[SocketAddr]) -> Result<[Listen; LISTEN_MAX]> {
    if addresses.len() > LISTEN_MAX {
        return Err(XdpError::TooManyListeners { count: addresses.len(), max: LISTEN_MAX });
    }
    let mut listen = [Listen::NONE; LISTEN_MAX];
    for (slot, address) in listen.iter_mut().zip(addresses) {
        *slot = Listen::new(*address);
    }
    Ok(listen)
}

fn hash_key() -> Result<HashKey> {
    let mut key = HashKey::default();
    for word in &mut key {
        *word = random::u32().map_err(XdpError::system("the kernel gives no randomness"))?;
    }
    Ok(key)
}

fn run_options(frame: &[u8], repeat: u32) -> TestRunOptions<'_> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = repeat;
    options
}

fn ran(result: aya::programs::TestRunResult) -> Ran {
    Ran {
        action: result.return_value,
        nanoseconds: u32::try_from(result.duration.as_nanos()).unwrap_or(u32::MAX),
    }
}
