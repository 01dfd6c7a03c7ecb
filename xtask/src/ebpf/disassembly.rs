//! A listing of the object's instructions (RFC 9669), for the reader of a diff.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::elf::Elf;

const INSN_LEN: usize = 8;

/// One line per instruction, functions and sections named, maps named where they are loaded.
pub(super) fn listing(object: &[u8]) -> Result<String> {
    let elf = Elf::parse(object)?;
    let functions = elf.functions()?;
    let mut out = String::new();
    for (index, section) in elf.sections.iter().enumerate().filter(|(_, s)| s.is_code()) {
        ensure!(section.contents.len() % INSN_LEN == 0, "section {} is cut", section.name);
        writeln!(out, "section {}", section.name)?;
        let relocations = elf.relocations(index)?;
        let mut wide = None;
        for (number, bytes) in section.contents.chunks_exact(INSN_LEN).enumerate() {
            let offset = (number * INSN_LEN) as u64;
            for function in functions.iter().filter(|f| (f.section, f.offset) == (index, offset)) {
                writeln!(out, "{}:", function.name)?;
            }
            let insn = Insn::decode(bytes);
            let text = match wide.take() {
                Some(low) => {
                    format!("  high half of {:#x}", low | u64::from(insn.imm as u32) << 32)
                }
                None => insn.text(number),
            };
            if insn.code == Insn::LOAD_WIDE {
                wide = Some(u64::from(insn.imm as u32));
            }
            let name = relocations.iter().find(|(at, _)| *at == offset);
            let note = name.map_or(String::new(), |(_, name)| format!("  // {name}"));
            writeln!(out, "{number:>6}  {text}{note}")?;
        }
    }
    Ok(out)
}

struct Insn {
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

impl Insn {
    const LOAD_WIDE: u8 = 0x18;

    fn decode(bytes: &[u8]) -> Self {
        Self {
            code: bytes[0],
            dst: bytes[1] & 0xf,
            src: bytes[1] >> 4,
            off: i16::from_le_bytes([bytes[2], bytes[3]]),
            imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    /// `number` is the instruction's own, from which jumps count.
    fn text(&self, number: usize) -> String {
        let Self { code, dst, src, off, imm } = *self;
        match code & 7 {
            _ if code == Self::LOAD_WIDE => format!("r{dst} = {imm:#x} ll"),
            1 => format!("r{dst} = *({} *)(r{src} {off:+})", self.size()),
            2 => format!("*({} *)(r{dst} {off:+}) = {imm}", self.size()),
            3 if code >> 5 == 6 => {
                format!("lock *({} *)(r{dst} {off:+}) op {imm:#x} r{src}", self.size())
            }
            3 => format!("*({} *)(r{dst} {off:+}) = r{src}", self.size()),
            4 => self.arithmetic('w'),
            7 => self.arithmetic('r'),
            5 => self.jump('r', number),
            6 => self.jump('w', number),
            _ => format!("{code:#04x} r{dst} r{src} {off:+} {imm:#x}"),
        }
    }

    fn size(&self) -> &'static str {
        let signed = self.code >> 5 == 4;
        match (self.code >> 3 & 3, signed) {
            (0, false) => "u32",
            (1, false) => "u16",
            (2, false) => "u8",
            (3, _) => "u64",
            (0, true) => "s32",
            (1, true) => "s16",
            _ => "s8",
        }
    }

    fn arithmetic(&self, class: char) -> String {
        let Self { code, dst, off, imm, .. } = *self;
        let operand = self.operand(class);
        let operator = match code >> 4 {
            0x0 => "+=",
            0x1 => "-=",
            0x2 => "*=",
            0x3 if off == 1 => "s/=",
            0x3 => "/=",
            0x4 => "|=",
            0x5 => "&=",
            0x6 => "<<=",
            0x7 => ">>=",
            0x8 => return format!("{class}{dst} = -{class}{dst}"),
            0x9 if off == 1 => "s%=",
            0x9 => "%=",
            0xa => "^=",
            0xb if off != 0 => return format!("{class}{dst} = (s{off}){operand}"),
            0xb => "=",
            0xc => "s>>=",
            0xd => {
                let order = match (class, code & 8) {
                    ('r', _) => "bswap",
                    (_, 0) => "le",
                    _ => "be",
                };
                return format!("r{dst} = {order}{imm} r{dst}");
            }
            _ => return format!("{code:#04x} {class}{dst} {operand}"),
        };
        format!("{class}{dst} {operator} {operand}")
    }

    fn jump(&self, class: char, number: usize) -> String {
        let Self { code, dst, src, off, imm } = *self;
        let target = |distance: i64| format!("goto {}", number as i64 + 1 + distance);
        let operator = match code >> 4 {
            0x0 if class == 'w' => return target(imm.into()),
            0x0 => return target(off.into()),
            0x1 => "==",
            0x2 => ">",
            0x3 => ">=",
            0x4 => "&",
            0x5 => "!=",
            0x6 => "s>",
            0x7 => "s>=",
            0x8 if src == 1 => return format!("call {}", target(imm.into())),
            0x8 => return format!("call helper {imm}"),
            0x9 => return "exit".to_owned(),
            0xa => "<",
            0xb => "<=",
            0xc => "s<",
            0xd => "s<=",
            _ => return format!("{code:#04x} {class}{dst} {off:+}"),
        };
        format!("if {class}{dst} {operator} {} {}", self.operand(class), target(off.into()))
    }

    fn operand(&self, class: char) -> String {
        if self.code & 8 == 0 { self.imm.to_string() } else { format!("{class}{}", self.src) }
    }
}

#[cfg(test)]
mod tests {
    use super::Insn;

    #[test]
    fn instructions_are_written_as_in_the_rfc() {
        let text = |bytes: [u8; 8]| Insn::decode(&bytes).text(10);
        assert_eq!(text([0xb7, 0, 0, 0, 2, 0, 0, 0]), "r0 = 2");
        assert_eq!(text([0xbf, 0x16, 0, 0, 0, 0, 0, 0]), "r6 = r1");
        assert_eq!(text([0x61, 0x12, 4, 0, 0, 0, 0, 0]), "r2 = *(u32 *)(r1 +4)");
        assert_eq!(text([0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0]), "*(u64 *)(r10 -8) = r1");
        assert_eq!(text([0x2d, 0x21, 3, 0, 0, 0, 0, 0]), "if r1 > r2 goto 14");
        assert_eq!(text([0x85, 0, 0, 0, 1, 0, 0, 0]), "call helper 1");
        assert_eq!(text([0xdc, 1, 0, 0, 16, 0, 0, 0]), "r1 = be16 r1");
        assert_eq!(text([0x95, 0, 0, 0, 0, 0, 0, 0]), "exit");
    }
}
