//! Rules about calls, made instructions of classic BPF (networking/filter.rst of the kernel).

use nix::errno::Errno;
use nix::libc::{self, sock_filter};

use super::abi::{Abi, Call};
use super::errno;

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    call: Call,
    when: When,
    action: u32,
}

/// The arguments for which a rule holds; of each the lower 32 bits, which is all that the kernel
/// takes of an `int`.
#[derive(Clone, Debug)]
pub(super) enum When {
    /// Any.
    Always,
    /// This argument is one of the values.
    Among(u8, Vec<u32>),
    /// This argument is none of the values.
    Unless(u8, Vec<u32>),
    /// One argument has the value, another one is one of the values.
    Both((u8, u32), (u8, Vec<u32>)),
    /// The argument `set` is not zero in all its 64 bits, or one of the bits is set.
    SetOrBits { set: u8, bits: (u8, u32) },
}

impl Rule {
    pub(super) const fn new(call: Call, when: When, action: u32) -> Self {
        Self { call, when, action }
    }
}

/// The whole filter: the convention first, then its rules one after the other.
///
/// What has no rule is decided by number and convention alone, for which the kernel keeps the
/// answer and runs no filter.
pub(super) fn assemble(rules: &[Rule]) -> Vec<sock_filter> {
    let mut out = vec![load(ARCH)];
    for abi in Abi::ALL {
        let mut body = vec![load(NUMBER)];
        #[cfg(target_arch = "x86_64")]
        if abi == Abi::Native {
            body.push(jump(libc::BPF_JSET, super::abi::X32_BIT, 0, 1));
            body.push(answer(errno(Errno::ENOSYS)));
        }
        for rule in rules {
            if let Some(number) = abi.number(rule.call) {
                let decision = decide(rule);
                body.push(jump(libc::BPF_JEQ, number, 0, short(decision.len())));
                body.extend(decision);
            }
        }
        body.push(answer(libc::SECCOMP_RET_ALLOW));
        let over = u32::try_from(body.len()).expect("a filter is short");
        out.push(jump(libc::BPF_JEQ, abi.audit(), 1, 0));
        out.push(statement(libc::BPF_JMP | libc::BPF_JA, over));
        out.extend(body);
    }
    // No third convention is known to this machine.
    out.push(answer(errno(Errno::ENOSYS)));
    out
}

/// What follows once the number fits; it always ends.
fn decide(Rule { when, action, .. }: &Rule) -> Vec<sock_filter> {
    let act = answer(*action);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    match when {
        When::Always => vec![act],
        When::Among(arg, values) => one_of(*arg, values, act, allow),
        When::Unless(arg, values) => one_of(*arg, values, allow, act),
        When::Both((arg, value), (other, values)) => {
            let rest = one_of(*other, values, act, allow);
            let mut out = vec![load(low(*arg)), jump(libc::BPF_JEQ, *value, 1, 0), allow];
            out.extend(rest);
            out
        }
        When::SetOrBits {
            set,
            bits: (arg, bits),
        } => vec![
            load(low(*set)),
            jump(libc::BPF_JEQ, 0, 0, 5),
            load(high(*set)),
            jump(libc::BPF_JEQ, 0, 0, 3),
            load(low(*arg)),
            jump(libc::BPF_JSET, *bits, 1, 0),
            allow,
            act,
        ],
    }
}

fn one_of(arg: u8, values: &[u32], is: sock_filter, is_not: sock_filter) -> Vec<sock_filter> {
    let mut out = vec![load(low(arg))];
    for (i, value) in values.iter().enumerate() {
        out.push(jump(libc::BPF_JEQ, *value, short(values.len() - i), 0));
    }
    out.extend([is_not, is]);
    out
}

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Both machines are little-endian.
fn low(arg: u8) -> u32 {
    16 + 8 * u32::from(arg)
}

fn high(arg: u8) -> u32 {
    low(arg) + 4
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn statement(code: u32, k: u32) -> sock_filter {
    instruction(code, k, 0, 0)
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, k, jt, jf)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = u16::try_from(code).expect("codes of classic BPF are 16 bits");
    sock_filter { code, jt, jf, k }
}

fn short(distance: usize) -> u8 {
    u8::try_from(distance).expect("a rule has fewer values than a jump reaches")
}
