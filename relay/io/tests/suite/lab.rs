//! Two network namespaces of the test's own thread, joined by a veth pair, with an XDP program on
//! the near end that redirects UDP to AF_XDP sockets. Nothing has a name, so nothing is left behind
//! when the test ends, however it ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_core::port::{EgressId, FlowTuple};
use weir_io::xsk::{Sent, host};
use weir_io::{Crossing, Waker, XskConfig, XskRegistrar, ZeroCopy};

pub(crate) const NEAR_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const SECOND_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 77);
pub(crate) const FAR_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

type Totals = Arc<Mutex<HashMap<EgressId, Sent>>>;

thread_local! {
    static LAB: RefCell<Option<Rc<Lab>>> = const { RefCell::new(None) };
}

/// See the module. The thread that made it stands in the near namespace.
pub(crate) struct Lab {
    near: File,
    far: File,
    map: Rc<OwnedFd>,
    /// What the backend told of each flow last.
    sent: Totals,
    /// The attachment ends with it.
    _link: OwnedFd,
}

/// False, with the reason on standard error, where namespaces or XDP are refused. A machine that
/// promises privileges must not skip.
pub(crate) fn is_possible() -> bool {
    match Lab::build() {
        Ok(lab) => {
            LAB.with_borrow_mut(|place| *place = Some(Rc::new(lab)));
            true
        }
        Err(error) => {
            let required = std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_some();
            assert!(!required, "a veth lab with XDP is required: {error}");
            eprintln!("SKIP: no veth lab with XDP: {error}");
            false
        }
    }
}

impl Lab {
    /// The lab of this thread, which `is_possible` made.
    pub(crate) fn with<T>(use_it: impl FnOnce(&Lab) -> T) -> T {
        let lab = LAB.with_borrow(Clone::clone).expect("is_possible was asked");
        use_it(&lab)
    }

    /// Does something in the far namespace. Sockets keep the namespace that they were made in.
    pub(crate) fn far<T>(&self, act: impl FnOnce() -> T) -> T {
        enter(&self.far).unwrap();
        let result = act();
        enter(&self.near).unwrap();
        result
    }

    /// A backend for the near end's one queue.
    pub(crate) fn config(&self, waker: &Waker) -> XskConfig {
        self.sent.lock().unwrap().clear();
        XskConfig {
            worker: 0,
            workers: 1,
            interfaces: vec![host::interface("near").unwrap()],
            exit_ports: 61_000..=65_535,
            zero_copy: ZeroCopy::Auto,
            busy_poll: Duration::ZERO,
            kernel_train: usize::MAX,
            crossing: Crossing::new(std::slice::from_ref(waker)),
            registrar: Box::new(Registrar {
                map: self.map.as_raw_fd(),
                sent: Arc::clone(&self.sent),
            }),
        }
    }

    /// The totals of a flow as the backend told them last.
    pub(crate) fn sent(&self, id: EgressId) -> Sent {
        self.sent.lock().unwrap().get(&id).copied().unwrap_or_default()
    }

    /// Runs `ip` in the near namespace.
    pub(crate) fn ip(&self, line: &str) {
        run("ip", line.split(' ')).unwrap();
    }

    fn build() -> io::Result<Lab> {
        let far = new_namespace()?;
        let near = new_namespace()?;
        let far_path = format!("/proc/{}/fd/{}", std::process::id(), far.as_raw_fd());
        let far_net = format!("--net={far_path}");
        for line in [
            "link set lo up",
            &format!("link add near type veth peer name far netns {far_path}"),
            &format!("addr add {NEAR_V4}/24 dev near"),
            &format!("addr add {SECOND_V4}/24 dev near"),
            &format!("addr add {NEAR_V6}/64 dev near nodad"),
            "link set near up",
        ] {
            run("ip", line.split(' '))?;
        }
        for line in [
            format!("addr add {FAR_V4}/24 dev far"),
            format!("addr add {FAR_V6}/64 dev far nodad"),
            "link set far up".to_owned(),
            "link set lo up".to_owned(),
        ] {
            run("nsenter", [&far_net[..], "ip"].into_iter().chain(line.split(' ')))?;
        }
        let map = bpf::xsk_map(64)?;
        let program = bpf::redirect_udp(map.as_fd())?;
        let near_index = host::interface("near").map_err(io::Error::other)?.index;
        let link = bpf::attach_native(program.as_fd(), near_index)?;
        Ok(Lab { near, far, map: Rc::new(map), sent: Totals::default(), _link: link })
    }
}

/// Enters the sockets of the one interface by their queue.
#[derive(Debug)]
struct Registrar {
    map: RawFd,
    sent: Totals,
}

impl XskRegistrar for Registrar {
    fn register(&mut self, _: u32, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        bpf::set(self.map, queue, socket.as_raw_fd() as u32)
    }

    /// The socket leaves the map when it is closed.
    fn unregister(&mut self, _: u32, _: u32) {}

    fn opened(&mut self, _: EgressId, _: &FlowTuple) -> io::Result<()> {
        Ok(())
    }

    fn sent_to_clients(&mut self, _: &Sent) {}

    fn sent(&mut self, id: EgressId, _: &FlowTuple, total: &Sent) {
        let before = self.sent.lock().unwrap().insert(id, *total);
        assert!(before.is_none_or(|before| before.packets <= total.packets), "totals only grow");
    }
}

fn new_namespace() -> io::Result<File> {
    // SAFETY: changes the calling thread's namespace only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: as above.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let output = Command::new(program).args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// As much of bpf(2) as the lab needs: this crate may not know the one that loads programs.
mod bpf {
    use super::*;

    const MAP_CREATE: i32 = 0;
    const MAP_UPDATE_ELEM: i32 = 2;
    const PROG_LOAD: i32 = 5;
    const LINK_CREATE: i32 = 28;
    const MAP_TYPE_XSKMAP: u32 = 17;
    const PROG_TYPE_XDP: u32 = 6;
    const ATTACH_XDP: u32 = 37;
    const FLAG_NATIVE: u32 = 1 << 2;

    pub(super) fn xsk_map(entries: u32) -> io::Result<OwnedFd> {
        call(MAP_CREATE, &[MAP_TYPE_XSKMAP, 4, 4, entries])
    }

    pub(super) fn set(map: RawFd, key: u32, value: u32) -> io::Result<()> {
        #[repr(C)]
        struct Update {
            map: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let (key, value) = (&raw const key as u64, &raw const value as u64);
        let update = Update { map: map as u32, pad: 0, key, value, flags: 0 };
        // SAFETY: the structure and what it points to live until the call returns.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, MAP_UPDATE_ELEM, &raw const update, size_of_val(&update))
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn redirect_udp(map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let program = program(map.as_raw_fd());
        let license = c"Dual MIT/GPL";
        let mut log = vec![0u8; 1 << 16];
        let mut words = [0u32; 18];
        words[0] = PROG_TYPE_XDP;
        words[1] = program.len() as u32;
        put(&mut words, 2, program.as_ptr() as u64);
        put(&mut words, 4, license.as_ptr() as u64);
        words[6] = 1;
        words[7] = log.len() as u32;
        put(&mut words, 8, log.as_mut_ptr() as u64);
        words[17] = ATTACH_XDP;
        call(PROG_LOAD, &words).map_err(|error| {
            let text = String::from_utf8_lossy(&log);
            io::Error::other(format!("{error}: {}", text.trim_end_matches('\0')))
        })
    }

    pub(super) fn attach_native(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
        call(LINK_CREATE, &[program.as_raw_fd() as u32, interface, ATTACH_XDP, FLAG_NATIVE])
    }

    fn put(words: &mut [u32], at: usize, value: u64) {
        words[at] = value as u32;
        words[at + 1] = (value >> 32) as u32;
    }

    fn call(command: i32, attributes: &[u32]) -> io::Result<OwnedFd> {
        // SAFETY: the attributes, and what they point to, live until the call returns.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attributes.as_ptr(),
                size_of_val(attributes) as u32,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call made it and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// UDP over plain IPv4 or IPv6 goes to the socket of its queue, everything else to the kernel.
    fn program(map: RawFd) -> Vec<u64> {
        let insn = |code: u8, dst: u8, src: u8, offset: i16, value: i32| {
            u64::from(code)
                | u64::from(dst | src << 4) << 8
                | u64::from(offset as u16) << 16
                | u64::from(value as u32) << 32
        };
        let load = |size: u8, dst, src, offset| insn(0x61 | size, dst, src, offset, 0);
        const WORD: u8 = 0x00;
        const HALF: u8 = 0x08;
        const BYTE: u8 = 0x10;
        vec![
            load(WORD, 2, 1, 0),          // r2 = data
            load(WORD, 3, 1, 4),          // r3 = data_end
            insn(0xBF, 4, 2, 0, 0),       // r4 = r2
            insn(0x07, 4, 0, 0, 34),      // r4 += Ethernet and the shorter IP header
            insn(0x2D, 4, 3, 17, 0),      // if r4 > r3 pass
            load(HALF, 5, 2, 12),         // r5 = EtherType, as it lies
            insn(0x15, 5, 0, 4, 0x0008),  // if IPv4 skip the next four
            insn(0x55, 5, 0, 14, 0xDD86), // if not IPv6 pass
            load(BYTE, 5, 2, 20),         // r5 = next header
            insn(0x55, 5, 0, 12, 17),     // if not UDP pass
            insn(0x05, 0, 0, 5, 0),       // redirect
            load(BYTE, 5, 2, 23),         // r5 = protocol
            insn(0x55, 5, 0, 9, 17),      // if not UDP pass
            load(HALF, 5, 2, 20),         // r5 = flags and fragment offset, as they lie
            insn(0x57, 5, 0, 0, 0xFF3F),  // r5 &= more fragments and offset
            insn(0x55, 5, 0, 6, 0),       // if a fragment pass
            load(WORD, 2, 1, 16),         // r2 = rx_queue_index
            insn(0x18, 1, 1, 0, map),     // r1 = the map
            0,                            // (the upper half of its address)
            insn(0xB7, 3, 0, 0, 2),       // r3 = XDP_PASS where there is no socket
            insn(0x85, 0, 0, 0, 51),      // r0 = redirect_map(r1, r2, r3)
            insn(0x95, 0, 0, 0, 0),       // exit
            insn(0xB7, 0, 0, 0, 2),       // pass: r0 = XDP_PASS
            insn(0x95, 0, 0, 0, 0),       // exit
        ]
    }
}
