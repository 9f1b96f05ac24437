//! Which marks rules of any program set or look at, read from the instructions that the kernel
//! lists.
//!
//! A rule is followed instruction by instruction, with what each register holds as far as it
//! matters: a mark, some bits of one, or a number. What iptables writes through nf_tables is kept
//! as it was passed to its extensions.

use std::collections::BTreeMap;

use steer_core::host::{MarkBits, MarkUse};

use super::wire::{attrs, c_text, number};

/// The marks of a rule, given what is inside its list of instructions.
pub(super) fn of_rule(expressions: &[u8]) -> Vec<(MarkUse, MarkBits)> {
    let mut reader = Reader::default();
    for (_, element) in attrs(expressions) {
        let (mut name, mut data) = (String::new(), &[][..]);
        for (kind, value) in attrs(element) {
            match kind {
                EXPR_NAME => name = c_text(value),
                EXPR_DATA => data = value,
                _ => {}
            }
        }
        reader.step(&name, data);
    }
    reader.found
}

/// What a register holds.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The packet's mark in the bits of `mask`, with those of `flip` turned over.
    Packet { mask: u32, flip: u32 },
    /// The same of the connection's mark.
    Connection { mask: u32, flip: u32 },
    /// A number.
    Number(u32),
}

#[derive(Debug, Default)]
struct Reader {
    registers: BTreeMap<u32, Held>,
    found: Vec<(MarkUse, MarkBits)>,
}

impl Reader {
    fn step(&mut self, name: &str, data: &[u8]) {
        let get = |wanted| attrs(data).find_map(|(kind, v)| (kind == wanted).then_some(v));
        let int = |wanted| get(wanted).map(number);
        match name {
            "meta" => {
                let is_mark = int(KEY) == Some(META_MARK);
                let whole = Held::Packet {
                    mask: u32::MAX,
                    flip: 0,
                };
                self.load(int(META_DREG), is_mark.then_some(whole));
                if let (true, Some(from)) = (is_mark, int(META_SREG)) {
                    self.set(from, false);
                }
            }
            "ct" => {
                let is_mark = int(KEY) == Some(CT_MARK);
                let whole = Held::Connection {
                    mask: u32::MAX,
                    flip: 0,
                };
                self.load(int(CT_DREG), is_mark.then_some(whole));
                if let (true, Some(from)) = (is_mark, int(CT_SREG)) {
                    self.set(from, true);
                }
            }
            "immediate" => {
                let value = get(IMMEDIATE_DATA).and_then(value).map(Held::Number);
                self.load(int(IMMEDIATE_DREG), value);
            }
            "bitwise" => {
                let held = int(BITWISE_SREG).and_then(|from| self.held(from));
                let mask = get(BITWISE_MASK).and_then(value);
                let flip = get(BITWISE_XOR).and_then(value);
                let turned = match (held, mask, flip) {
                    (Some(held), Some(mask), Some(flip)) => Some(held.turned(mask, flip)),
                    _ => None,
                };
                self.load(int(BITWISE_DREG), turned);
            }
            "cmp" => {
                let held = int(CMP_SREG).and_then(|from| self.held(from));
                let is_equality = int(CMP_OP).is_some_and(|op| op <= CMP_NOT_EQUAL);
                let (Some(held), true) = (held, is_equality) else {
                    return;
                };
                let value = get(CMP_DATA).and_then(value);
                if let (
                    Held::Packet { mask, flip } | Held::Connection { mask, flip },
                    Some(value),
                ) = (held, value)
                {
                    let value = (value ^ flip) & mask;
                    let bits = MarkBits { value, mask };
                    self.found.push((MarkUse::Tested, bits));
                }
            }
            "match" | "target" => {
                let name = get(XT_NAME).map(c_text).unwrap_or_default();
                self.found
                    .extend(of_extension(&name, get(XT_INFO).unwrap_or_default()));
            }
            // These write no register.
            "counter" | "log" | "reject" | "lookup" | "limit" | "notrack" => {}
            _ => self.registers.clear(),
        }
    }

    fn load(&mut self, register: Option<u32>, held: Option<Held>) {
        let Some(register) = register.map(numbered) else {
            return;
        };
        match held {
            Some(held) => self.registers.insert(register, held),
            None => self.registers.remove(&register),
        };
    }

    fn held(&self, register: u32) -> Option<Held> {
        self.registers.get(&numbered(register)).copied()
    }

    /// Notes that a mark gets what a register holds: the bits that it does not keep are set.
    fn set(&mut self, from: u32, of_connection: bool) {
        let whole = |value| MarkBits {
            value,
            mask: u32::MAX,
        };
        let bits = match self.held(from) {
            Some(Held::Number(value)) => whole(value),
            Some(Held::Packet { mask, flip }) if !of_connection => kept(mask, flip),
            Some(Held::Connection { mask, flip }) if of_connection => kept(mask, flip),
            // From the other mark, or from something that is not followed.
            Some(Held::Packet { flip, .. } | Held::Connection { flip, .. }) => whole(flip),
            None => whole(0),
        };
        self.found.push((MarkUse::Set, bits));
    }
}

const fn kept(mask: u32, flip: u32) -> MarkBits {
    MarkBits {
        value: flip,
        mask: !mask | flip,
    }
}

impl Held {
    const fn turned(self, by: u32, over: u32) -> Self {
        match self {
            Self::Packet { mask, flip } => Self::Packet {
                mask: mask & by,
                flip: (flip & by) ^ over,
            },
            Self::Connection { mask, flip } => Self::Connection {
                mask: mask & by,
                flip: (flip & by) ^ over,
            },
            Self::Number(value) => Self::Number((value & by) ^ over),
        }
    }
}

/// The mark in what an extension of iptables was passed (`linux/netfilter/xt_*.h`).
fn of_extension(name: &str, info: &[u8]) -> Option<(MarkUse, MarkBits)> {
    let word = |index: usize| {
        let bytes = info.get(4 * index..4 * index + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let bits = |value: u32, mask: u32| MarkBits {
        value,
        // Bits outside of the mask are turned over, so they are changed too.
        mask: mask | value,
    };
    let set = |bits| Some((MarkUse::Set, bits));
    match name {
        "mark" | "connmark" => Some((MarkUse::Tested, bits(word(0)?, word(1)?))),
        "MARK" => set(bits(word(0)?, word(1)?)),
        "CONNMARK" => match info.get(12)? {
            0 => set(bits(word(0)?, word(1)?)),
            // The packet's mark is saved in, or restored from, the connection's.
            1 => set(bits(0, word(1)?)),
            _ => set(bits(0, word(2)?)),
        },
        "TPROXY" => set(bits(word(1)?, word(0)?)),
        _ => None,
    }
}

/// A register by the number that its first four bytes have: the old names are of 16 bytes each.
const fn numbered(register: u32) -> u32 {
    match register {
        1..=4 => 4 + 4 * register,
        other => other,
    }
}

/// A 32-bit value in the host's byte order.
fn value(data: &[u8]) -> Option<u32> {
    let (_, bytes) = attrs(data).find(|(kind, _)| *kind == DATA_VALUE)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
/// Of `meta` and `ct` both.
const KEY: u16 = 2;
const META_MARK: u32 = 3;
const META_DREG: u16 = 1;
const META_SREG: u16 = 3;
const CT_MARK: u32 = 3;
const CT_DREG: u16 = 1;
const CT_SREG: u16 = 4;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_NOT_EQUAL: u32 = 1;
/// Of `match` and `target` both.
const XT_NAME: u16 = 1;
const XT_INFO: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::expr::{Marked, Program};

    fn marks(fill: impl FnOnce(&mut Program)) -> Vec<(MarkUse, MarkBits)> {
        let mut program = Program::default();
        fill(&mut program);
        of_rule(program.into_attrs().as_bytes())
    }

    const SOME: steer_core::mark::Mark = steer_core::mark::Mark {
        value: 0x40,
        mask: 0xf0,
    };

    #[test]
    fn marks_are_read_as_they_were_written() {
        let bits = MarkBits {
            value: SOME.value,
            mask: SOME.mask,
        };
        for marked in [Marked::Packet, Marked::Connection] {
            let tested = marks(|p| p.mark_holds(marked, SOME));
            assert_eq!(tested, [(MarkUse::Tested, bits)]);
            assert_eq!(marks(|p| p.set_mark(marked, SOME)), [(MarkUse::Set, bits)]);
        }
        assert_eq!(marks(Program::rewritten), []);
    }

    #[test]
    fn what_iptables_passes_to_its_extensions_is_read() {
        let info = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        let found = |name, words: &[u32]| of_extension(name, &info(words));
        let bits = |value, mask| Some((MarkUse::Set, MarkBits { value, mask }));
        let (usage, tested) = found("mark", &[1, 0xff, 0]).unwrap();
        assert_eq!(
            (usage, tested.value, tested.mask),
            (MarkUse::Tested, 1, 0xff)
        );
        assert_eq!(found("MARK", &[0x4000, 0]), bits(0x4000, 0x4000));
        assert_eq!(found("CONNMARK", &[5, 0xff, 0, 0]), bits(5, 0xff));
        assert_eq!(found("CONNMARK", &[0, 0xff, 0xf00, 1]), bits(0, 0xff));
        assert_eq!(found("CONNMARK", &[0, 0xff, 0xf00, 2]), bits(0, 0xf00));
        assert_eq!(found("TPROXY", &[0xffff, 0x111, 0, 0]), bits(0x111, 0xffff));
        assert_eq!(found("TPROXY", &[0xffff]), None);
        assert_eq!(found("comment", &[1, 2]), None);
    }
}
