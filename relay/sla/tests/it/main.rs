//! What samples are worth, from the outside.

mod calendar;
mod common;
mod evidence;
mod figures;
mod judge;
mod money;
mod references;
mod report;
mod reputation;
