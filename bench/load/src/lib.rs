//! The load of the benchmark: a generator and its targets, on io_uring and quinn-proto.
//!
//! ```text
//! weir-load run      one generator, told by a [`spec::Spec`] what to do      run, work, way
//! weir-load target   the far end: UDP echo, TCP source, sink and exchange    serve
//! weir-load floor    a bare forwarder: what no relay can beat                floor
//! weir-load wan      a long and lossy way to the relay                       wan
//! ```
//!
//! The generator is one thread with one ring. [`way`] knows how a target is reached (directly, or
//! through a MASQUE relay), [`work`] what is sent there and what is made of the answers, and
//! [`run`] turns the loop:
//!
//! ```text
//! io.turn --> way.handle --> work.happened     what arrived
//! way.handle_timeout                           QUIC's timers
//! work.drive --> way.send                      what is due, or fits the window
//! way.flush --> io.egress                      trains out, submitted by the next turn
//! ```
#![forbid(unsafe_code)]

mod arena;
mod console;
mod cpu;
pub mod floor;
mod quic;
pub mod run;
pub mod serve;
pub mod spec;

pub mod wan;
mod way;
mod work;
