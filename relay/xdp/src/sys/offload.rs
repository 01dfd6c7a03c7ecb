//! Generic receive offload of an interface.
//!
//! With native XDP on a veth, and GRO off (its default), every datagram climbs the stack alone and
//! costs about ten times what it costs in a train. The kernel offers the switch by ioctl only.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_GGRO` and `ETHTOOL_SGRO` of linux/ethtool.h.
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Whether GRO is on.
pub(crate) fn gro(interface: &str) -> io::Result<bool> {
    Ok(ethtool(interface, ETHTOOL_GGRO, 0)? != 0)
}

/// Turns GRO on or off. Needs CAP_NET_ADMIN in the interface's network namespace.
pub(crate) fn set_gro(interface: &str, on: bool) -> io::Result<()> {
    ethtool(interface, ETHTOOL_SGRO, u32::from(on)).map(drop)
}

/// Longest IP packet.
pub(crate) fn mtu(interface: &str) -> io::Result<u32> {
    let (socket, mut request) = ask(interface)?;
    // SAFETY: `request` is an ifreq whose name ends in NUL, and outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written this member.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.cast_unsigned())
}

fn ethtool(interface: &str, cmd: u32, data: u32) -> io::Result<u32> {
    let (socket, mut request) = ask(interface)?;
    let mut value = EthtoolValue { cmd, data };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` is an ifreq whose name ends in NUL and whose data points to an
    // ethtool_value; both outlive the call, and the kernel writes nothing beyond the latter for
    // these two commands. There is no safe wrapper for SIOCETHTOOL in the crates used here.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}

/// A socket to ask through, and a request with the interface's name in it.
fn ask(interface: &str) -> io::Result<(OwnedFd, libc::ifreq)> {
    let name = CString::new(interface)?;
    let name = name.as_bytes_with_nul();
    // SAFETY: socket(2) takes no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() > request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    Ok((socket, request))
}
