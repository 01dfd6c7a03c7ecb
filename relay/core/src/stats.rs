//! Counters of an engine, for `/metrics`. Monotonic since the engine started, except those that
//! say they are gauges.

/// Defines the struct and, from the same table, what `/metrics` says of each field.
macro_rules! stats {
    ($($name:ident: $help:literal,)*) => {
        /// Plain counters; the worker copies them out once per turn or less.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct EngineStats {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl EngineStats {
            /// Name, help and value of every counter, in a fixed order.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name),)*].into_iter()
            }

            /// Adds another worker's counters.
            pub fn merge(&mut self, other: &EngineStats) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

stats! {
    connections_open: "Connections open now (gauge).",
    connections_handshaking: "Connections in handshake now (gauge).",
    connections_accepted: "Connections whose first packet was accepted.",
    connections_established: "Connections whose handshake completed.",
    connections_lost: "Connections that ended with an error or a timeout.",
    connections_refused_full: "Connections refused because the worker was full.",
    connections_refused_source: "Connections refused because their source had too many.",
    connections_refused_draining: "Connections refused while draining.",
    connections_retried: "Connection attempts answered with Retry.",
    handshakes_timed_out: "Handshakes dropped for taking too long.",
    logins_timed_out: "Connections closed for showing no valid credential.",
    packets_received: "Client-facing UDP datagrams received.",
    bytes_received: "Client-facing UDP payload bytes received.",
    trains_received: "Client-facing GRO trains received.",
    packets_sent: "Client-facing UDP datagrams sent.",
    bytes_sent: "Client-facing UDP payload bytes sent.",
    trains_sent: "Client-facing GSO trains sent.",
    requests: "Requests received.",
    requests_malformed: "Requests reset or refused as malformed.",
    requests_unauthorized: "Requests with a missing or wrong credential.",
    requests_rate_limited: "Requests refused because their source failed to authenticate too often.",
    requests_prohibited: "Requests refused by the exit policy.",
    requests_rejected_draining: "Requests rejected while draining.",
    requests_over_limit: "Requests refused because of a limit.",
    resources: "Requests for resources of the relay.",
    resolves: "Names asked for.",
    resolves_failed: "Names without an answer, or with an error for an answer.",
    h3_errors: "Connections closed for a violation of HTTP/3.",
    tunnels_tcp_open: "TCP tunnels open now (gauge).",
    tunnels_udp_open: "UDP tunnels open now (gauge).",
    tunnels_tcp: "TCP tunnels opened.",
    tunnels_udp: "UDP tunnels opened.",
    tunnels_failed: "Tunnels whose target could not be reached.",
    tunnels_idle: "UDP tunnels closed for silence.",
    tunnels_reset_by_target: "TCP tunnels reset by the target.",
    up_bytes: "Payload bytes forwarded to targets.",
    up_datagrams: "UDP datagrams forwarded to targets.",
    down_bytes: "Payload bytes handed to clients' connections.",
    down_datagrams: "UDP datagrams handed to clients' connections.",
    dropped_queue_full: "Datagrams dropped: the queue of the tunnel was full.",
    dropped_too_big: "Datagrams dropped: larger than the next hop can carry.",
    dropped_credit: "Datagrams dropped: the payer's credit was exhausted.",
    dropped_send_failed: "Datagrams dropped: the kernel refused them.",
    dropped_closed: "Datagrams or TCP chunks left over when a tunnel closed.",
    dropped_unknown_context: "HTTP Datagrams dropped: unknown context or no payload.",
    dropped_early: "HTTP Datagrams dropped: more than is kept while a tunnel opens.",
    datagrams_unroutable: "HTTP Datagrams dropped: no such request stream, or none any more.",
    capsules_skipped: "Capsules of unknown type skipped.",
    egress_late_events: "Events of target-facing sockets that no tunnel waits for.",
}
