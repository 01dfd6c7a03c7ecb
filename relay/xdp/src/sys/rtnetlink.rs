//! What runs at the XDP hook of an interface, by rtnetlink. There is no other way to see a program
//! that was attached without a BPF link.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `IFLA_XDP_*` of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct XdpState {
    /// Ids of the programs by mode; 0 is none.
    pub(crate) native: u32,
    pub(crate) generic: u32,
    pub(crate) offloaded: u32,
}

const HEADER_LEN: usize = 16;
const LINK_INFO_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;
/// One RTM_NEWLINK with all its statistics stays well below this; the kernel's own limit for a
/// dump is 32 KiB.
const ANSWER_LEN_MAX: usize = 65_536;

const IFLA_XDP: u16 = 43;
const XDP_ATTACHED: u16 = 2;
const XDP_PROG_ID: u16 = 4;
const XDP_DRV_PROG_ID: u16 = 5;
const XDP_SKB_PROG_ID: u16 = 6;
const XDP_HW_PROG_ID: u16 = 7;
/// Flags in the attribute type: nested, byte order.
const TYPE_MASK: u16 = 0x3fff;

/// Asks the kernel.
pub(crate) fn xdp_state(if_index: u32) -> io::Result<XdpState> {
    let socket = socket()?;
    send(&socket, &request(if_index))?;
    let mut answer = vec![0; ANSWER_LEN_MAX];
    let len = receive(&socket, &mut answer)?;
    parse(&answer[..len])
}

fn request(if_index: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + LINK_INFO_LEN);
    bytes.extend(((HEADER_LEN + LINK_INFO_LEN) as u32).to_ne_bytes());
    bytes.extend(libc::RTM_GETLINK.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([0; 4]); // family, pad, type
    bytes.extend(if_index.to_ne_bytes());
    bytes.extend([0; 8]); // flags, change
    bytes
}

fn parse(answer: &[u8]) -> io::Result<XdpState> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "short rtnetlink answer");
    let kind = answer.get(4..6).and_then(|b| b.first_chunk()).ok_or_else(short)?;
    let body = answer.get(HEADER_LEN..).ok_or_else(short)?;
    if u16::from_ne_bytes(*kind) == libc::NLMSG_ERROR as u16 {
        let code = body.first_chunk().ok_or_else(short)?;
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
    }
    let attributes = body.get(LINK_INFO_LEN..).ok_or_else(short)?;
    let mut state = XdpState::default();
    let Some(xdp) = find(attributes, IFLA_XDP) else { return Ok(state) };
    let id =
        |kind| find(xdp, kind).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b));
    (state.native, state.generic, state.offloaded) =
        (id(XDP_DRV_PROG_ID), id(XDP_SKB_PROG_ID), id(XDP_HW_PROG_ID));
    // Kernels before 4.19 give one id and the mode.
    match find(xdp, XDP_ATTACHED).and_then(|b| b.first()) {
        Some(1) if state.native == 0 => state.native = id(XDP_PROG_ID),
        Some(2) if state.generic == 0 => state.generic = id(XDP_PROG_ID),
        _ => {}
    }
    Ok(state)
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((header, _)) = attributes.split_first_chunk::<ATTRIBUTE_LEN>() {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = attributes.get(ATTRIBUTE_LEN..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is live and as long as said. std has no netlink sockets.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as above, for writing.
    let len = unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}
