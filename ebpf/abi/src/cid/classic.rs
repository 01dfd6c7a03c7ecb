//! The rule of [`super`] as a classic BPF program for `SO_ATTACH_REUSEPORT_CBPF`. It runs with the
//! UDP payload at offset 0 and returns the index of a socket in the group, in bind order.

use super::{CidKey, LEN, LONG_LEN_OFFSET, LONG_OFFSET, MUL_1, MUL_2, SHORT_OFFSET};
use crate::WORKERS_MAX;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicInsn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Instructions of [`classic_program`].
pub const CLASSIC_LEN: usize = LOAD_LEN + DECODE_LEN + HASH_LEN;
const LOAD_LEN: usize = 2 + (WORDS_LEN + 1) + (WORDS_LEN + 2);
const WORDS_LEN: usize = 6;
const DECODE_LEN: usize = 4 * (1 + MIX_LEN + 3) + 7;
const HASH_LEN: usize = 1 + MIX_LEN + 2 + MIX_LEN + 2;
const MIX_LEN: usize = 9;

// linux/bpf_common.h
const LD_W_ABS: u16 = 0x20;
const LD_B_ABS: u16 = 0x30;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const TAX: u16 = 0x07;
const MUL_K: u16 = 0x24;
const MOD_K: u16 = 0x94;
const AND_K: u16 = 0x54;
const RSH_K: u16 = 0x74;
const XOR_K: u16 = 0xa4;
const XOR_X: u16 = 0xac;
const JA: u16 = 0x05;
const JSET_K: u16 = 0x45;
const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const RET_A: u16 = 0x16;

/// Scratch cells: L and R while they are decoded, and the words as they arrived for the hash.
const LEFT: u32 = 0;
const RIGHT: u32 = 1;
const FIRST_WORD: u32 = 2;
const SECOND_WORD: u32 = 3;

/// The program for a group of `workers` sockets (1 to [`WORKERS_MAX`]; 0 counts as 1). A load
/// beyond the end of the datagram ends a classic program with 0, which is worker 0 of the rule.
#[must_use]
pub fn classic_program(key: &CidKey, workers: u32) -> [ClassicInsn; CLASSIC_LEN] {
    let workers = workers.clamp(1, WORKERS_MAX);
    let mut out = Assembler { insns: [insn(RET_A, 0); CLASSIC_LEN], len: 0 };
    out.load();
    out.decode(key, workers);
    out.hash(key, workers);
    debug_assert_eq!(out.len, CLASSIC_LEN, "CLASSIC_LEN is the sum of the parts");
    out.insns
}

struct Assembler {
    insns: [ClassicInsn; CLASSIC_LEN],
    len: usize,
}

impl Assembler {
    /// Fills the scratch cells and falls through to the decoder; jumps over it to the hash if a
    /// long header's connection ID is not eight bytes long.
    fn load(&mut self) {
        self.push(insn(LD_B_ABS, 0));
        self.push(jump(JSET_K, 0x80, WORDS_LEN + 1, 0));
        self.words(SHORT_OFFSET);
        self.push(insn(JA, WORDS_LEN as u32 + 2));
        self.words(LONG_OFFSET);
        self.push(insn(LD_B_ABS, LONG_LEN_OFFSET as u32));
        self.push(jump(JEQ_K, LEN as u32, 0, DECODE_LEN));
    }

    fn words(&mut self, offset: usize) {
        self.push(insn(LD_W_ABS, offset as u32));
        self.push(insn(ST, LEFT));
        self.push(insn(ST, FIRST_WORD));
        self.push(insn(LD_W_ABS, offset as u32 + 4));
        self.push(insn(ST, RIGHT));
        self.push(insn(ST, SECOND_WORD));
    }

    /// Returns the worker, or falls through to the hash.
    fn decode(&mut self, key: &CidKey, workers: u32) {
        self.round(RIGHT, LEFT, key.round[3]);
        self.round(LEFT, RIGHT, key.round[2]);
        self.round(RIGHT, LEFT, key.round[1]);
        self.round(LEFT, RIGHT, key.round[0]);
        self.push(insn(AND_K, 0xFFFF));
        self.push(jump(JEQ_K, key.tag, 0, 5));
        self.push(insn(LD_MEM, LEFT));
        self.push(insn(RSH_K, 16));
        self.push(insn(AND_K, 0xFF));
        self.push(jump(JGE_K, workers, 1, 0));
        self.push(insn(RET_A, 0));
    }

    fn hash(&mut self, key: &CidKey, workers: u32) {
        self.push(insn(LD_MEM, FIRST_WORD));
        self.mix(key.round[1]);
        self.push(insn(LDX_MEM, SECOND_WORD));
        self.push(insn(XOR_X, 0));
        self.mix(key.round[2]);
        self.push(insn(MOD_K, workers));
        self.push(insn(RET_A, 0));
    }

    /// M[to] ^= F(M[from], key), the result also in A.
    fn round(&mut self, to: u32, from: u32, key: u32) {
        self.push(insn(LD_MEM, from));
        self.mix(key);
        self.push(insn(LDX_MEM, to));
        self.push(insn(XOR_X, 0));
        self.push(insn(ST, to));
    }

    /// A = F(A, key).
    fn mix(&mut self, key: u32) {
        self.push(insn(XOR_K, key));
        for (multiplier, shift) in [(MUL_1, 15), (MUL_2, 13)] {
            self.push(insn(MUL_K, multiplier));
            self.push(insn(TAX, 0));
            self.push(insn(RSH_K, shift));
            self.push(insn(XOR_X, 0));
        }
    }

    fn push(&mut self, insn: ClassicInsn) {
        self.insns[self.len] = insn;
        self.len += 1;
    }
}

const fn insn(code: u16, k: u32) -> ClassicInsn {
    ClassicInsn { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: usize, jf: usize) -> ClassicInsn {
    ClassicInsn { code, jt: jt as u8, jf: jf as u8, k }
}
