//! Static programs of a few instructions, without a compiler: a socket, a connect, and the errno
//! as the exit status.

use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How a program calls the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convention {
    /// Of x86-64, by `syscall`.
    Native,
    /// Of i386, by `int 0x80`, each call by its own number.
    Direct,
    /// Of i386, the socket by socketcall(2); it makes no other call.
    Socketcall,
}

/// Writes the program into a directory.
pub(crate) fn write(dir: &Path, convention: Convention, to: SocketAddrV4) -> PathBuf {
    let path = dir.join(format!("{convention:?}"));
    std::fs::write(&path, elf(convention, to)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn elf(convention: Convention, to: SocketAddrV4) -> Vec<u8> {
    let wide = convention == Convention::Native;
    let head = if wide { 64 + 56 } else { 52 + 32 };
    // The address stands behind the code, whose length does not depend on where that is.
    let length = code(convention, 0).len();
    let at = BASE + head + u32::try_from(length).unwrap();
    let mut image = code(convention, at);
    match convention {
        Convention::Native | Convention::Direct => {
            image.extend(2_u16.to_le_bytes());
            image.extend(to.port().to_be_bytes());
            image.extend(to.ip().octets());
            image.extend([0; 8]);
        }
        // socket(AF_INET, SOCK_STREAM, 0)
        Convention::Socketcall => {
            image.extend([2_u32, 1, 0].iter().flat_map(|n| n.to_le_bytes()));
        }
    }
    let size = head + u32::try_from(image.len()).unwrap();
    let mut file = header(wide, head, size);
    file.extend(image);
    file
}

/// elf(5): one segment, which is the whole file.
fn header(wide: bool, head: u32, size: u32) -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1];
    out.resize(16, 0);
    let machine: u16 = if wide { 62 } else { 3 };
    out.extend(2_u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    let word = |out: &mut Vec<u8>, value: u32| match wide {
        true => out.extend(u64::from(value).to_le_bytes()),
        false => out.extend(value.to_le_bytes()),
    };
    let (own, segment): (u16, u16) = if wide { (64, 56) } else { (52, 32) };
    word(&mut out, BASE + head);
    word(&mut out, u32::from(own));
    word(&mut out, 0);
    out.extend(0_u32.to_le_bytes());
    for half in [own, segment, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable.
    let (load, flags) = (1_u32.to_le_bytes(), 5_u32.to_le_bytes());
    out.extend(load);
    if wide {
        out.extend(flags);
    }
    for value in [0, BASE, BASE, size, size] {
        word(&mut out, value);
    }
    if !wide {
        out.extend(flags);
    }
    word(&mut out, 0x1000);
    out
}

fn code(convention: Convention, address: u32) -> Vec<u8> {
    // The numbers of the registers.
    let (eax, ecx, edx, ebx, esi, edi) = (0, 1, 2, 3, 6, 7);
    let call: [u8; 2] = match convention {
        Convention::Native => [0x0f, 0x05],
        Convention::Direct | Convention::Socketcall => [0xcd, 0x80],
    };
    match convention {
        Convention::Native => [
            &[set(eax, 41), set(edi, 2), set(esi, 1), set(edx, 0)].concat()[..],
            &call,
            &[0x89, 0xc7], // mov edi, eax
            &[set(eax, 42), set(esi, address), set(edx, 16)].concat(),
            &call,
            &[0xf7, 0xd8, 0x89, 0xc7], // neg eax; mov edi, eax
            &set(eax, 60),
            &call,
        ]
        .concat(),
        Convention::Direct => [
            &[set(eax, 359), set(ebx, 2), set(ecx, 1), set(edx, 0)].concat()[..],
            &call,
            &[0x89, 0xc3], // mov ebx, eax
            &[set(eax, 362), set(ecx, address), set(edx, 16)].concat(),
            &call,
            &[0xf7, 0xd8, 0x89, 0xc3], // neg eax; mov ebx, eax
            &set(eax, 1),
            &call,
        ]
        .concat(),
        Convention::Socketcall => [
            &[set(eax, 102), set(ebx, 1), set(ecx, address)].concat()[..],
            &call,
            &[0xf7, 0xd8, 0x89, 0xc3],
            &set(eax, 1),
            &call,
        ]
        .concat(),
    }
}

/// `mov r32, imm32`
fn set(register: u8, value: u32) -> Vec<u8> {
    let mut out = vec![0xb8 | register];
    out.extend(value.to_le_bytes());
    out
}

/// Where static programs are by habit.
const BASE: u32 = 0x0040_0000;
