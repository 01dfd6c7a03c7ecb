//! As much of ELF64 as it takes to find one section by name.

use crate::error::{Result, XdpError};

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const MACHINE_BPF: u64 = 247;

/// The contents of section `name` of a little-endian BPF object, `None` if it has none.
pub(crate) fn section<'a>(object: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    let damaged = || XdpError::Object("it is not a little-endian 64-bit BPF ELF file");
    if !object.starts_with(MAGIC) || number(object, 0x12, 2) != Some(MACHINE_BPF) {
        return Err(damaged());
    }
    find(object, name).ok_or_else(damaged)
}

/// `None` if the file contradicts itself.
fn find<'a>(object: &'a [u8], name: &str) -> Option<Option<&'a [u8]>> {
    let table = number(object, 0x28, 8)? as usize;
    let entry_len = number(object, 0x3a, 2)? as usize;
    let count = number(object, 0x3c, 2)? as usize;
    let names_index = number(object, 0x3e, 2)? as usize;
    let header = |index: usize| object.get(table.checked_add(index * entry_len)?..);
    let names = contents(object, header(names_index)?)?;
    for index in 0..count {
        let header = header(index)?;
        let own_name = names.get(number(header, 0, 4)? as usize..)?;
        if own_name.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)) {
            return Some(Some(contents(object, header)?));
        }
    }
    Some(None)
}

fn contents<'a>(object: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let start = number(header, 0x18, 8)? as usize;
    let len = number(header, 0x20, 8)? as usize;
    object.get(start..start.checked_add(len)?)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at + len)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
