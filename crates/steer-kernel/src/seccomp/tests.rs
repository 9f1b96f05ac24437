use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What a filter says, by an interpreter of our own.
fn run(program: &Program, audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(audit.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
    let mut a = 0_u32;
    let mut at = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program.instructions[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match u32::from(code) {
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                let word = &data[k as usize..][..4];
                a = u32::from_le_bytes(word.try_into().unwrap());
            }
            code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => branch(a == k),
            code if code == libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K => branch(a & k != 0),
            code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
            code if code == libc::BPF_RET | libc::BPF_K => return k,
            code => panic!("an instruction that is not ours: {code:#x}"),
        }
    }
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const TOLD: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// What the text of [`Program::families`] says.
fn families_by_the_book(allowed: &[u16], abi: Abi, call: Call, args: [u64; 6]) -> u32 {
    let first = args[0] as u32;
    match call {
        Call::Socket | Call::Socketpair if allowed.iter().any(|f| u32::from(*f) == first) => ALLOW,
        Call::Socket | Call::Socketpair => errno(Errno::EAFNOSUPPORT),
        Call::Socketcall if abi == Abi::Compat && (first == 1 || first == 8) => {
            errno(Errno::EAFNOSUPPORT)
        }
        Call::IoUringSetup | Call::IoUringEnter | Call::IoUringRegister => errno(Errno::EPERM),
        _ => ALLOW,
    }
}

/// What the text of [`Program::supervised`] says.
fn supervised_by_the_book(call: Call, args: [u64; 6]) -> u32 {
    let told = match call {
        Call::Connect | Call::Sendmsg | Call::Sendmmsg | Call::Getpeername => true,
        Call::Sendto => args[4] != 0 || args[3] & 0x2000_0000 != 0,
        Call::Getsockopt => args[1] as u32 == 1 && [4, 28].contains(&(args[2] as u32)),
        Call::Socketcall => Call::of_socketcall(args[0] as u32).is_some(),
        Call::IoUringSetup | Call::IoUringEnter | Call::IoUringRegister => {
            return errno(Errno::EPERM);
        }
        Call::Socket | Call::Socketpair => false,
    };
    if told { TOLD } else { ALLOW }
}

/// Numbers as programs pass them: small, or with anything in the upper half.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..48,
        1 => any::<u64>(),
        1 => (0_u64..48, any::<u32>()).prop_map(|(low, high)| low | u64::from(high) << 32),
        1 => Just(0x2000_4000_u64),
    ]
}

proptest! {
    #[test]
    fn every_call_of_either_convention_is_decided_as_the_text_says(
        allowed in proptest::collection::vec(0_u16..46, 0..6),
        call in proptest::sample::select(Call::ALL.to_vec()),
        abi in proptest::sample::select(Abi::ALL.to_vec()),
        args in proptest::array::uniform6(argument()),
    ) {
        prop_assume!(abi.number(call).is_some());
        let number = abi.number(call).unwrap();
        let said = run(&Program::families(&allowed), abi.audit(), number, args);
        prop_assert_eq!(said, families_by_the_book(&allowed, abi, call, args));
        let said = run(&Program::supervised(), abi.audit(), number, args);
        prop_assert_eq!(said, supervised_by_the_book(call, args));
        prop_assert_eq!(Abi::read(abi.audit(), number as i32), Some((abi, call)));
    }

    #[test]
    fn a_number_that_no_rule_is_about_is_allowed_and_a_foreign_convention_is_not(
        number in 0_u32..0x4000_0000,
        foreign in any::<u32>(),
        args in proptest::array::uniform6(argument()),
    ) {
        for program in [Program::families(&[1]), Program::supervised()] {
            for abi in Abi::ALL {
                if Abi::read(abi.audit(), number as i32).is_none() {
                    prop_assert_eq!(run(&program, abi.audit(), number, args), ALLOW);
                }
            }
            if Abi::ALL.iter().all(|abi| abi.audit() != foreign) {
                let said = run(&program, foreign, number, args);
                prop_assert_eq!(said, errno(Errno::ENOSYS));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn no_call_of_x32_exists_under_a_filter() {
    for program in [Program::families(&[2]), Program::supervised()] {
        for number in [41, 42, 44, 0, 519, 537] {
            let said = run(&program, Abi::Native.audit(), number | 0x4000_0000, [2; 6]);
            assert_eq!(said, errno(Errno::ENOSYS));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn one_number_means_another_call_in_another_convention() {
    // 102 is getuid in the one and socketcall in the other; 41 is socket in the one, dup in the
    // other.
    let program = Program::families(&[]);
    let mut answers = BTreeMap::new();
    for abi in Abi::ALL {
        for number in [102, 41] {
            let said = run(&program, abi.audit(), number, [1, 0, 0, 0, 0, 0]);
            answers.insert((abi == Abi::Native, number), said);
        }
    }
    assert_eq!(answers[&(true, 102)], ALLOW);
    assert_eq!(answers[&(false, 102)], errno(Errno::EAFNOSUPPORT));
    assert_eq!(answers[&(true, 41)], errno(Errno::EAFNOSUPPORT));
    assert_eq!(answers[&(false, 41)], ALLOW);
}

/// Runs `work` in a thread under the filter: filters are a thread's.
fn under<T: Send + 'static>(program: Program, work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        install(&program).unwrap();
        work()
    })
    .join()
    .unwrap()
}

#[test]
fn a_thread_under_the_filter_has_the_families_that_it_may_and_no_ring() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket, socketpair};
    let made = under(Program::families(&[1, 2]), || {
        let (kind, none) = (SockType::Datagram, SockFlag::empty());
        let of = |family| socket(family, kind, none, None).map(drop);
        let pair = socketpair(AddressFamily::Unix, kind, None, none).map(drop);
        let ring = sys::seccomp::tests::ring();
        [
            of(AddressFamily::Unix),
            of(AddressFamily::Inet),
            of(AddressFamily::Inet6),
            of(AddressFamily::Netlink),
            pair,
            ring,
        ]
    });
    let refused = Err(Errno::EAFNOSUPPORT);
    assert_eq!(
        made,
        [Ok(()), Ok(()), refused, refused, Ok(()), Err(Errno::EPERM)]
    );
}

#[test]
fn a_call_that_comes_to_a_supervisor_who_is_gone_does_not_exist() {
    let (connected, resolved) = std::thread::spawn(|| {
        let supervisor = install_supervised(&Program::supervised()).unwrap();
        drop(supervisor);
        let connected = std::net::TcpStream::connect("127.0.0.1:9").map(drop);
        // Calls that are not told go on.
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").map(drop);
        (connected, bound)
    })
    .join()
    .unwrap();
    assert_eq!(
        connected.unwrap_err().raw_os_error(),
        Some(Errno::ENOSYS as i32)
    );
    resolved.unwrap();
}

#[test]
fn a_second_supervisor_is_refused_and_asking_leaves_no_trace() {
    std::thread::spawn(|| {
        try_supervision().unwrap();
        try_supervision().unwrap();
        let _first = install_supervised(&Program::supervised()).unwrap();
        let second = try_supervision().unwrap_err();
        assert_eq!(second.raw_os_error(), Some(Errno::EBUSY as i32));
    })
    .join()
    .unwrap();
}
