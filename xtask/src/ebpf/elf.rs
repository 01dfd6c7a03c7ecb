//! As much of ELF64 (little-endian) as a listing of the object needs.

use anyhow::{Context as _, Result, ensure};

const HEADER_LEN: usize = 64;
const SECTION_LEN: usize = 64;
const SYMBOL_LEN: usize = 24;
const RELOCATION_LEN: usize = 16;
const EXECUTABLE: u64 = 4;
const SYMTAB: u64 = 2;
const REL: u64 = 9;
const NO_BITS: u64 = 8;

pub(super) struct Elf<'a> {
    pub(super) sections: Vec<Section<'a>>,
}

pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) contents: &'a [u8],
    kind: u64,
    flags: u64,
    link: usize,
    info: usize,
}

pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    pub(super) section: usize,
    pub(super) offset: u64,
    is_function: bool,
}

impl<'a> Elf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a little-endian ELF64 file");
        let headers = section_headers(bytes)?;
        let names_index = number(bytes, 0x3e, 2)? as usize;
        let names = contents(bytes, headers.get(names_index).context("no section names")?)?;
        let sections = headers
            .iter()
            .map(|header| {
                Ok(Section {
                    name: string(names, number(header, 0, 4)? as usize)?,
                    contents: contents(bytes, header)?,
                    kind: number(header, 4, 4)?,
                    flags: number(header, 8, 8)?,
                    link: number(header, 0x28, 4)? as usize,
                    info: number(header, 0x2c, 4)? as usize,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { sections })
    }

    /// Function names by section and byte offset.
    pub(super) fn functions(&self) -> Result<Vec<Symbol<'a>>> {
        let mut functions = self.symbols()?;
        functions.retain(|symbol| symbol.is_function);
        Ok(functions)
    }

    /// For the relocations of a section: byte offset and what they name.
    pub(super) fn relocations(&self, section: usize) -> Result<Vec<(u64, &'a str)>> {
        let symbols = self.symbols()?;
        let mut found = Vec::new();
        for table in self.sections.iter().filter(|s| s.kind == REL && s.info == section) {
            for entry in table.contents.chunks_exact(RELOCATION_LEN) {
                let index = number(entry, 12, 4)? as usize;
                let symbol = symbols.get(index).context("relocation without symbol")?;
                let is_section = symbol.name.is_empty();
                let name =
                    if is_section { self.sections[symbol.section].name } else { symbol.name };
                found.push((number(entry, 0, 8)?, name));
            }
        }
        Ok(found)
    }

    fn symbols(&self) -> Result<Vec<Symbol<'a>>> {
        const FUNCTION: u64 = 2;
        let table = self.sections.iter().find(|s| s.kind == SYMTAB).context("no symbol table")?;
        let names = self.sections.get(table.link).context("no symbol names")?.contents;
        table
            .contents
            .chunks_exact(SYMBOL_LEN)
            .map(|entry| {
                Ok(Symbol {
                    name: string(names, number(entry, 0, 4)? as usize)?,
                    is_function: number(entry, 4, 1)? & 0xf == FUNCTION,
                    section: number(entry, 6, 2)? as usize,
                    offset: number(entry, 8, 8)?,
                })
            })
            .collect()
    }
}

impl Section<'_> {
    pub(super) fn is_code(&self) -> bool {
        self.flags & EXECUTABLE != 0 && !self.contents.is_empty()
    }
}

/// The object with its DWARF sections emptied: nine tenths of the file, and of no use once BTF has
/// been made of them. They keep their headers, so every index in the file stays right.
pub(super) fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let elf = Elf::parse(bytes)?;
    let mut headers: Vec<Vec<u8>> = section_headers(bytes)?.iter().map(|h| h.to_vec()).collect();
    let mut out = bytes.get(..HEADER_LEN).context("short file")?.to_vec();
    for (section, header) in elf.sections.iter().zip(&mut headers) {
        let is_dwarf = section.name.trim_start_matches(".rel").starts_with(".debug");
        let kept = if is_dwarf { &[] } else { section.contents };
        out.resize(out.len().next_multiple_of(8), 0);
        header[0x18..0x20].copy_from_slice(&(out.len() as u64).to_le_bytes());
        if section.kind != NO_BITS {
            header[0x20..0x28].copy_from_slice(&(kept.len() as u64).to_le_bytes());
        }
        out.extend(kept);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let table = (out.len() as u64).to_le_bytes();
    out[0x28..0x30].copy_from_slice(&table);
    out.extend(headers.concat());
    Ok(out)
}

fn section_headers(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let table = number(bytes, 0x28, 8)? as usize;
    let count = number(bytes, 0x3c, 2)? as usize;
    ensure!(number(bytes, 0x3a, 2)? as usize == SECTION_LEN, "odd section header size");
    let table = bytes.get(table..table + count * SECTION_LEN).context("section table cut")?;
    Ok(table.chunks_exact(SECTION_LEN).collect())
}

fn contents<'a>(bytes: &'a [u8], header: &[u8]) -> Result<&'a [u8]> {
    if number(header, 4, 4)? == NO_BITS {
        return Ok(&[]);
    }
    let start = number(header, 0x18, 8)? as usize;
    let len = number(header, 0x20, 8)? as usize;
    bytes.get(start..start + len).context("section beyond the file")
}

fn string(table: &[u8], at: usize) -> Result<&str> {
    let rest = table.get(at..).context("name beyond its table")?;
    let end = rest.iter().position(|byte| *byte == 0).context("name without end")?;
    Ok(std::str::from_utf8(&rest[..end])?)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Result<u64> {
    let field = bytes.get(at..at + len).context("file cut short")?;
    Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
