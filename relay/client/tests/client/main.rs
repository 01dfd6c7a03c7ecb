//! The client as a whole, against a relay made of quinn and h3, over real sockets on loopback.

mod payment;
mod purse;
mod samples;
mod support;
mod tunnels;
