//! Reading callgrind's output (its format is in valgrind's manual, "Callgrind Format
//! Specification"), written with `--compress-strings=no --compress-pos=no`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Instructions by function, without those of ring and of libraries outside the program.
pub fn parse(text: &str, program: &Path) -> Result<BTreeMap<String, u64>> {
    let program = program.to_string_lossy();
    let mut costs: BTreeMap<String, u64> = BTreeMap::new();
    let (mut object, mut file, mut function) = ("", "", "");
    let mut is_call = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(name) = line.strip_prefix("fl=") {
            file = name;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            // The line after `calls=` has what the called function took, which is counted there.
            if !std::mem::take(&mut is_call) && object == program && !is_ring(file, function) {
                let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok());
                let cost = cost.with_context(|| format!("callgrind's line {line:?}"))?;
                *costs.entry(without_cycle(function).to_owned()).or_default() += cost;
            }
        }
    }
    Ok(costs)
}

/// The crate that a function is of: the first word of its path, as in `weir_core::engine::f` or
/// `<quinn_proto::frame::Iter as core::iter::Iterator>::next`.
pub fn crate_of(function: &str) -> &str {
    let path = function.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let path = path.strip_prefix("mut ").or(path.strip_prefix("dyn ")).unwrap_or(path);
    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
    &path[..end]
}

/// Its assembly has names of its own; the file says where it is from.
fn is_ring(file: &str, function: &str) -> bool {
    file.contains("/ring-") || crate_of(function) == "ring" || function.contains("ring_core_")
}

/// A function that calls itself is `f'2` inside itself.
fn without_cycle(function: &str) -> &str {
    match function.rsplit_once('\'') {
        Some((name, depth)) if depth.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

ob=/p/hot_path
fl=/src/engine.rs
fn=weir_core::engine::turn
10 5
fi=/rust/core.rs
11 7
cob=/lib/libc.so.6
cfi=memmove.S
cfn=memcpy
calls=3 200
12 9000
13 1
fn=weir_core::engine::turn'2
10 100

fl=/cargo/ring-0.17.14/pregenerated/aes.S
fn=_aesni_ctr32_ghash_6x
1 5000
fl=/rust/uint.rs
fn=ring::aead::open
1 5000

ob=/lib/libc.so.6
fl=memmove.S
fn=memcpy
200 9000

ob=/p/hot_path
fl=/cargo/frame.rs
fn=<quinn_proto::frame::Iter as core::iter::traits::iterator::Iterator>::next
7 30
totals: 19000
";

    #[test]
    fn own_instructions_are_counted_and_neither_rings_nor_those_of_calls() {
        let costs = parse(OUTPUT, Path::new("/p/hot_path")).unwrap();
        let costs: Vec<(&str, u64)> = costs.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        let next = "<quinn_proto::frame::Iter as core::iter::traits::iterator::Iterator>::next";
        assert_eq!(costs, [(next, 30), ("weir_core::engine::turn", 113)]);
    }

    #[test]
    fn crates_of_functions() {
        for (function, name) in [
            ("weir_core::engine::turn", "weir_core"),
            ("<quinn_proto::frame::Iter as core::iter::Iterator>::next", "quinn_proto"),
            ("<&mut weir_proto::Reader as X>::next", "weir_proto"),
            ("<dyn rustls::quic::PacketKey>::seal", "rustls"),
            ("mi_malloc", "mi_malloc"),
            ("", ""),
        ] {
            assert_eq!(crate_of(function), name, "{function}");
        }
    }
}
