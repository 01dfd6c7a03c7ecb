//! `cargo run -p weir-xdp --example verify [-- OBJECT]`: loads the committed object (or the one in
//! a file) on this kernel and prints what the verifier and the JIT made of it. Needs root.

use std::process::ExitCode;

use weir_xdp::{FLOWS_MAX, OBJECT, Programs};

fn main() -> ExitCode {
    let object = match std::env::args_os().nth(1).map(std::fs::read) {
        None => OBJECT.to_vec(),
        Some(Ok(object)) => object,
        Some(Err(error)) => {
            eprintln!("weir-xdp: can't read the object: {error}");
            return ExitCode::FAILURE;
        }
    };
    let statistics = match Programs::load(&object, FLOWS_MAX).and_then(|p| p.statistics()) {
        Ok(statistics) => statistics,
        Err(error) => {
            eprintln!("weir-xdp: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("program          verified insns   translated B   machine code B   memory B");
    for program in statistics {
        println!(
            "{:<16} {:>14} {:>14} {:>16} {:>10}",
            program.name,
            program.verified_instructions,
            program.translated_len_bytes,
            program.machine_code_len_bytes,
            program.memory_bytes
        );
    }
    ExitCode::SUCCESS
}
