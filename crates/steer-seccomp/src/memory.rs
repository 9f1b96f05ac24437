//! Structures in a program's memory, in the layout of its calling convention.

use nix::errno::Errno;
use nix::libc;
use steer_kernel::seccomp::Abi;

use crate::name::Name;
use crate::process::Process;

/// Where a message's address is: `struct msghdr` of recvmsg(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    name: u64,
    length: u32,
}

impl Header {
    /// Whether the message has an address at all.
    pub(crate) const fn has_name(self) -> bool {
        self.name != 0 && self.length != 0
    }

    /// Copies its address. Of a long one the kernel takes as much as `struct sockaddr_storage` has
    /// (`__copy_msghdr` of net/socket.c); a negative length is an error.
    pub(crate) fn name(self, process: Process) -> Result<Name, Errno> {
        if i32::try_from(self.length).is_err() {
            return Err(Errno::EINVAL);
        }
        name(process, self.name, self.length.min(MOST_OF_A_NAME))
    }

    fn parse(abi: Abi, bytes: &[u8]) -> Self {
        match abi {
            Abi::Native => Self {
                name: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
                length: word(&bytes[8..]),
            },
            Abi::Compat => Self {
                name: u64::from(word(bytes)),
                length: word(&bytes[4..]),
            },
        }
    }
}

/// Copies an address, which the kernel refuses where it is longer than `struct sockaddr_storage`.
pub(crate) fn name(process: Process, at: u64, length: u32) -> Result<Name, Errno> {
    if length > MOST_OF_A_NAME {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Errno::EINVAL)?];
    let length = bytes.len();
    if length > 0 {
        process.read(at, &mut bytes)?;
    }
    Ok(Name::new(bytes))
}

/// The address of one message.
pub(crate) fn header(process: Process, abi: Abi, at: u64) -> Result<Header, Errno> {
    let mut bytes = [0; NAME_AND_LENGTH];
    process.read(at, &mut bytes)?;
    Ok(Header::parse(abi, &bytes))
}

/// The addresses of the messages of sendmmsg(2).
pub(crate) fn headers(
    process: Process,
    abi: Abi,
    at: u64,
    count: u64,
) -> Result<Vec<Header>, Errno> {
    // The kernel sends no more of them either.
    let count = usize::try_from(count & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let count = count.min(MOST_MESSAGES);
    let stride = match abi {
        Abi::Native => 64,
        Abi::Compat => 32,
    };
    let mut bytes = vec![0; count * stride];
    if count > 0 {
        process.read(at, &mut bytes)?;
    }
    Ok(bytes
        .chunks_exact(stride)
        .map(|one| Header::parse(abi, one))
        .collect())
}

/// The arguments of socketcall(2), which are 32 bits wide.
pub(crate) fn words(process: Process, at: u64, count: usize) -> Result<[u64; 6], Errno> {
    let mut bytes = [0; 24];
    process.read(at, &mut bytes[..count * 4])?;
    let mut words = [0; 6];
    for (value, four) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = u64::from(word(four));
    }
    Ok(words)
}

/// A `socklen_t` or an `int`.
pub(crate) fn number(process: Process, at: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    process.read(at, &mut bytes)?;
    Ok(word(&bytes))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// `struct sockaddr_storage`.
const MOST_OF_A_NAME: u32 = size_of::<libc::sockaddr_storage>() as u32;

/// As far into `struct msghdr` as matters.
const NAME_AND_LENGTH: usize = 12;

/// UIO_MAXIOV, which is what the kernel takes of a vector of messages.
const MOST_MESSAGES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_in_either_layout() {
        let own = Process::of(std::process::id());
        let native: [u64; 16] = std::array::from_fn(|i| 0x1_0000_0010 + i as u64);
        let at = native.as_ptr() as u64;
        let read = headers(own, Abi::Native, at, 2).unwrap();
        assert_eq!(read[1].name, native[8]);
        assert_eq!(read[1].length, native[9] as u32);
        assert_eq!(header(own, Abi::Native, at).unwrap(), read[0]);
        let compat: [u32; 16] = std::array::from_fn(|i| 16 + i as u32);
        let read = headers(own, Abi::Compat, compat.as_ptr() as u64, 2).unwrap();
        assert_eq!(read[1].name, u64::from(compat[8]));
        assert_eq!(read[1].length, compat[9]);
        let first = words(own, compat.as_ptr() as u64, 3).unwrap();
        assert_eq!(first, [16, 17, 18, 0, 0, 0]);
    }

    #[test]
    fn an_address_that_is_too_long_is_refused_and_an_empty_one_is_not_read() {
        let own = Process::of(std::process::id());
        assert_eq!(name(own, 8, 129), Err(Errno::EINVAL));
        assert_eq!(name(own, 8, 16), Err(Errno::EFAULT));
        assert_eq!(name(own, 8, 0), Ok(Name::new(Vec::new())));
    }

    #[test]
    fn of_a_message_s_long_address_as_much_is_read_as_the_kernel_takes() {
        let own = Process::of(std::process::id());
        let room = [7_u8; 300];
        let of = |length| {
            let name = room.as_ptr() as u64;
            Header { name, length }.name(own)
        };
        for length in [129, 200, i32::MAX.unsigned_abs()] {
            assert_eq!(of(length), Ok(Name::new(room[..128].to_vec())), "{length}");
        }
        assert_eq!(of(u32::MAX), Err(Errno::EINVAL));
    }
}
