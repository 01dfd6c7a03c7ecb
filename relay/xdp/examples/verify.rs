//! `cargo run -p weir-xdp --example verify`: loads the committed object on this kernel and prints
//! what the verifier and the JIT made of it. Needs root.

use std::process::ExitCode;

use weir_xdp::{FLOWS_MAX, OBJECT, Programs};

fn main() -> ExitCode {
    let statistics = match Programs::load(OBJECT, FLOWS_MAX).and_then(|p| p.statistics()) {
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
