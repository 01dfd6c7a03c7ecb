use std::io;
use std::path::PathBuf;

/// Short form for this crate.
pub type Result<T> = std::result::Result<T, XdpError>;

/// Why the packet path could not be set up, read or taken down. All but [`XdpError::Object`] are
/// the operator's or the host's to mend, and say how.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// Not an object of ours, or damaged. The build's fault.
    #[error("the BPF object is unusable: {0}; run `cargo xtask ebpf check`")]
    Object(&'static str),

    /// Object and relay were built from different sources.
    #[error("{what} speaks ABI version {found}, this relay speaks {expected}; {remedy}")]
    AbiVersion { what: String, found: u32, expected: u32, remedy: &'static str },

    /// The kernel refused the object, the verifier included.
    #[error(
        "the kernel refused the BPF object: {0}; it needs Linux 6.1 or later, CAP_BPF and CAP_NET_ADMIN"
    )]
    Load(#[source] Box<aya::EbpfError>),

    /// A program was refused after the object was accepted.
    #[error("program {program}: {source}")]
    Program {
        program: &'static str,
        #[source]
        source: Box<aya::programs::ProgramError>,
    },

    /// No interface of that name here.
    #[error("there is no interface {0:?} in this network namespace; see `ip link`")]
    NoInterface(String),

    /// The parser reads Ethernet headers, and this interface has none.
    #[error(
        "interface {interface} is not Ethernet (ARPHRD type {kind}); leave it out of [xdp] interfaces"
    )]
    NotEthernet { interface: String, kind: u32 },

    /// Somebody else's XDP program is there, and is left alone.
    #[error(
        "interface {interface} already runs XDP program {name:?} (id {id}); Weir never replaces a foreign program: detach it with `ip link set dev {interface} xdp off` if it is not needed, or set [xdp] mode = \"off\""
    )]
    ForeignProgram { interface: String, id: u32, name: String },

    /// Neither the wanted mode nor its fallback worked.
    #[error("can't attach {program} to {interface}: {cause}")]
    Attach { program: &'static str, interface: String, cause: String },

    /// The names of pins are made of the instance's name.
    #[error("{0:?} can't name an instance: use 1 to 64 of a-z, A-Z, 0-9, '-' and '_'")]
    BadInstance(String),

    /// More than the configuration map holds.
    #[error("{count} listen addresses, the packet path knows at most {max}")]
    TooManyListeners { count: usize, max: usize },

    /// bpffs is not there and could not be mounted.
    #[error(
        "{path} is not a BPF file system and can't be mounted: {source}; run `mount -t bpf bpf {path}` on the host and pass it into the container"
    )]
    NoBpfFs {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// Another process runs under this name.
    #[error("instance {0:?} is in use by a running process; give this one another [xdp] instance")]
    InstanceBusy(String),

    /// A predecessor crashed and its counts are still to be read.
    #[error(
        "maps of a crashed predecessor are in {0}; read them with `recover` and discard them first"
    )]
    Leftover(PathBuf),

    /// A pinned map is missing or of another shape.
    #[error(
        "map {path}: {problem}; it was not written by this version: remove {path} by hand after a look at it"
    )]
    ForeignMap { path: PathBuf, problem: String },

    /// The table of exit flows is full.
    #[error("the exit flow table is full; raise xdp.flows")]
    FlowTableFull,

    /// The flow was inserted twice: two sockets can't have the same 5-tuple, so a removal is late.
    #[error("exit flow {0} is already in the table")]
    FlowExists(String),

    /// The programs were not told of this interface, or the queue's number is too large.
    #[error(
        "no AF_XDP socket can be set for queue {queue} of interface number {if_index}: only the first 8 interfaces of [xdp] interfaces, and queues 0 to 63, may have one"
    )]
    NoXskRow { if_index: u32, queue: u32 },

    /// More flows than the index can name, or none.
    #[error("a table of {asked} exit flows can't be made: between 1 and {max} are possible")]
    FlowsMax { asked: u32, max: u32 },

    /// A worker's index beyond the socket array.
    #[error("worker slot {index} does not exist, there are {max}")]
    NoSuchWorker { index: u32, max: u32 },

    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },

    /// As above, with the file it was about.
    #[error("{what} {path}: {source}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl XdpError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn program(
        program: &'static str,
    ) -> impl FnOnce(aya::programs::ProgramError) -> Self {
        move |source| Self::Program { program, source: Box::new(source) }
    }
}
