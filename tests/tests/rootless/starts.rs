//! A program that connects before anything else: it must not be quicker than the steering.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lab::{Family, Status};

use crate::column::Column;
use crate::errand::{Errand, Promise, Visit};
use crate::ground::Ground;

/// Every start of the program is steered, where the method can steer it: the server sees the proxy
/// and never the program's host.
pub(crate) fn not_one_first_connect_goes_direct(column: Column) {
    lab::require!(Root, Program("dnsmasq"));
    let ground = Ground::new("starts");
    let promise = match column {
        Column::Netns | Column::Tun | Column::Seccomp => return every_start(&ground, column),
        Column::Ebpf => Promise::Steered,
        Column::Preload => Promise::Refused("static"),
        Column::Env => Promise::Caught,
    };
    let server = ground.serve_echo();
    let at = ground.at(Family::V4, server.port());
    let words = [write_program(&ground, at)];
    let errand = Errand::new(words, [Visit::Address(at)]);
    errand.except(column, promise).hold(&ground, column);
}

fn every_start(ground: &Ground, column: Column) {
    for family in Family::BOTH {
        let server = ground.serve_echo();
        let at = ground.at(family, server.port());
        let program = write_program(ground, at);

        // The control: by itself it goes direct, and both witnesses see it.
        ground.look_away();
        let output = ground.program(std::slice::from_ref(&program)).run();
        assert_eq!(output.status, Status::Exited(0), "{output:#?}");
        let own = ground.app.address(family);
        let peers = |from: usize| -> Vec<IpAddr> {
            server
                .seen()
                .iter()
                .skip(from)
                .map(|it| it.peer.ip())
                .collect()
        };
        assert_eq!(peers(0), [own], "the server sees who comes direct");
        assert_eq!(
            ground.direct_connections().len(),
            1,
            "and so does the witness"
        );

        ground.look_away();
        let count = starts() / Family::BOTH.len();
        // Steerings that begin with the program, several at once.
        let rounds = count.div_ceil(AT_ONCE);
        let mut words = again(rounds);
        words.extend(ground.routed(column));
        words.extend(["--".to_owned(), program.clone()]);
        let at_once: Vec<_> = (0..AT_ONCE)
            .map(|_| ground.program(&words).spawn())
            .collect();
        for steered in at_once {
            let status = steered.wait_within(PATIENCE);
            assert_eq!(status, Some(Status::Exited(0)), "{column:?}: {steered:#?}");
        }
        // One steering, and many programs that follow each other closely.
        let mut words = ground.routed(column);
        words.push("--".to_owned());
        words.extend(again(count));
        words.push(program);
        let output = ground.program(&words).deadline(PATIENCE).run();
        assert_eq!(output.status, Status::Exited(0), "{column:?}: {output:#?}");

        let peers = peers(1);
        assert_eq!(
            peers.len(),
            AT_ONCE * rounds + count,
            "every start reached the server"
        );
        let direct = peers.iter().filter(|peer| **peer == own).count();
        assert_eq!(direct, 0, "{column:?}: connections that went direct");
        let direct = ground.direct_connections();
        assert!(
            direct.is_empty(),
            "{column:?}: {} went direct",
            direct.len()
        );
    }
}

/// How many programs are started for each of the two ways below: `STEER_STARTS`, or so many that
/// the test stays short.
fn starts() -> usize {
    let asked = std::env::var("STEER_STARTS").ok();
    let asked = asked.map(|it| it.parse().expect("STEER_STARTS is a number"));
    asked.unwrap_or(200)
}

/// The words that run a command so many times, each to its end.
fn again(count: usize) -> Vec<String> {
    let script = format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); \"$@\" || exit; done");
    ["sh", "-c", &script, "sh"].map(str::to_owned).into()
}

/// Writes the program into the ground's folder and gives its path.
fn write_program(ground: &Ground, to: SocketAddr) -> String {
    let family = Family::of(to.ip());
    // Under another name first: who still executes an earlier one keeps it.
    let path: PathBuf = ground.path(&format!("first-{family:?}"));
    let made = ground.path("first.made");
    fs::write(&made, program(to)).expect("our directory can be written");
    fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).expect("our file");
    // By another process: a descriptor for writing here would be inherited by programs that
    // other tests start meanwhile, and the file be busy.
    ground.copy(&made, &format!("first-{family:?}"));
    path.display().to_string()
}

/// A static program for x86-64 without a library: it makes a socket, connects it, sends a byte,
/// says what came back, and exits with 0; with 1 when the connect fails, with 2 when no byte comes.
fn program(to: SocketAddr) -> Vec<u8> {
    let (domain, address) = match to {
        SocketAddr::V4(to) => {
            let mut bytes = vec![2, 0];
            bytes.extend(to.port().to_be_bytes());
            bytes.extend(to.ip().octets());
            bytes.extend([0; 8]);
            (2_u8, bytes)
        }
        SocketAddr::V6(to) => {
            let mut bytes = vec![10, 0];
            bytes.extend(to.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(to.ip().octets());
            bytes.extend([0; 4]);
            (10, bytes)
        }
    };
    let length = u8::try_from(address.len()).expect("an address is short");
    let mut code = vec![
        0x6a, domain, 0x5f, // push domain; pop rdi
        0x6a, 1, 0x5e, // push SOCK_STREAM; pop rsi
        0x31, 0xd2, // xor edx, edx
        0x6a, 41, 0x58, // push SYS_socket; pop rax
        0x0f, 0x05, // syscall
        0x89, 0xc7, // mov edi, eax
        0x48, 0x8d, 0x35, 0, 0, 0, 0, // lea rsi, [rip + address]
        0x6a, length, 0x5a, // push length; pop rdx
        0x6a, 42, 0x58, // push SYS_connect; pop rax
        0x0f, 0x05, // syscall
        0xbb, 1, 0, 0, 0, // mov ebx, 1
        0x85, 0xc0, // test eax, eax
        0x75, 0, // jne exit
        0xff, 0xc3, // inc ebx
        0x48, 0x89, 0xe6, // mov rsi, rsp
        0x6a, 1, 0x5a, // push 1; pop rdx
        0x89, 0xd0, // mov eax, edx (SYS_write)
        0x0f, 0x05, // syscall
        0x31, 0xc0, // xor eax, eax (SYS_read)
        0x0f, 0x05, // syscall
        0x83, 0xf8, 1, // cmp eax, 1
        0x75, 9, // jne exit
        0x6a, 1, 0x5f, // push STDOUT_FILENO; pop rdi
        0x89, 0xf8, // mov eax, edi (SYS_write)
        0x0f, 0x05, // syscall
        0x31, 0xdb, // xor ebx, ebx
    ];
    let lea = position(&code, &[0x48, 0x8d, 0x35]);
    let jump = position(&code, &[0x85, 0xc0, 0x75]) + 2;
    let exit = code.len();
    code.extend([
        0x89, 0xdf, // exit: mov edi, ebx
        0x6a, 60, 0x58, // push SYS_exit; pop rax
        0x0f, 0x05, // syscall
    ]);
    code[jump + 1] = u8::try_from(exit - (jump + 2)).expect("a short jump");
    let distance = u8::try_from(code.len() - (lea + 7)).expect("a short program");
    code[lea + 3] = distance;
    code.extend(address);
    elf(&code)
}

fn position(code: &[u8], bytes: &[u8]) -> usize {
    let mut windows = code.windows(bytes.len());
    windows
        .position(|it| it == bytes)
        .expect("it is in the code")
}

/// An executable of one segment that begins with its own headers.
fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat()); // ET_EXEC, EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat()); // entry, phoff, shoff
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat()); // PT_LOAD, readable and executable
    file.extend(
        [0, BASE, BASE, size, size, 0x1000]
            .map(u64::to_le_bytes)
            .concat(),
    );
    file.extend(code);
    file
}

/// How many steerings are there at once.
const AT_ONCE: usize = 4;

/// How long many starts below one steering may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
