//! Whether a process' network namespace has an open port, as the kernel lists them.

use std::fs;

/// TCP_LISTEN, and for UDP the state of an unconnected socket, in the kernel's tables.
const TCP_LISTEN: &str = "0A";
const UDP_OPEN: &str = "07";

pub(super) fn tcp(pid: u32, port: u16) -> bool {
    any(pid, ["tcp", "tcp6"], port, TCP_LISTEN)
}

pub(super) fn udp(pid: u32, port: u16) -> bool {
    any(pid, ["udp", "udp6"], port, UDP_OPEN)
}

fn any(pid: u32, tables: [&str; 2], port: u16, state: &str) -> bool {
    tables.iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        lists(&text, port, state)
    })
}

/// Rows are `sl: local_address:PORT rem_address:PORT st ...` with hexadecimal numbers.
fn lists(table: &str, port: u16, state: &str) -> bool {
    let end = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&end)) && words.nth(1) == Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_listens_where_it_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let pid = std::process::id();
        assert!(tcp(pid, listener.local_addr().unwrap().port()));
        assert!(udp(pid, socket.local_addr().unwrap().port()));
    }

    #[test]
    fn a_connection_from_that_port_is_not_a_listener() {
        let table = "  sl  local_address rem_address   st\n   \
                     0: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n";
        assert!(!lists(table, 0x1f90, TCP_LISTEN));
        assert!(lists(table, 0x1f90, "01"));
        assert!(!lists(table, 0xc350, "01"));
    }
}
