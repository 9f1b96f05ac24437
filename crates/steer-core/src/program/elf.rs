//! ELF headers, as far as they tell who makes a program's system calls.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::Parts;

/// An ELF program (elf(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The size of its addresses.
    pub class: Class,
    /// Its machine, by number (`e_machine`).
    pub machine: u16,
    /// Who loads it.
    pub linking: Linking,
    /// Whether the Go toolchain linked it: it makes system calls of its own then, however it is
    /// linked.
    pub go: bool,
}

/// The size of a program's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// Who loads a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linking {
    /// The kernel alone; nothing is preloaded.
    Static,
    /// This dynamic loader.
    Dynamic {
        /// Its path.
        loader: PathBuf,
    },
}

/// The program in these bytes; `None` where they are none.
pub(super) fn read(file: &impl Parts) -> io::Result<Option<Elf>> {
    let head = file.part(0, 64)?;
    let Some(header) = Header::parse(&head) else {
        return Ok(None);
    };
    let mut linking = Linking::Static;
    let mut go = false;
    for segment in header.segments(file)? {
        match segment.kind {
            PT_INTERP => {
                let mut path = file.part(segment.offset, segment.bounded(LONGEST_PATH))?;
                path.truncate(path.iter().position(|b| *b == 0).unwrap_or(path.len()));
                linking = Linking::Dynamic {
                    loader: OsString::from_vec(path).into(),
                };
            }
            PT_NOTE => {
                let notes = file.part(segment.offset, segment.bounded(LONGEST_NOTES))?;
                go |= header.has_go_note(&notes);
            }
            _ => {}
        }
    }
    // A linker other than Go's may have dropped the note's segment; the section's name stays.
    go = go || header.names_a_go_section(file)?;
    Ok(Some(Elf {
        class: header.class,
        machine: header.machine,
        linking,
        go,
    }))
}

/// What matters of a file's header.
struct Header {
    class: Class,
    big_endian: bool,
    machine: u16,
    segments: Table,
    sections: Table,
    /// Which section holds the names of all.
    names: usize,
}

/// A table of headers.
#[derive(Clone, Copy)]
struct Table {
    offset: u64,
    entry: usize,
    count: usize,
}

/// A segment or a section.
struct Piece {
    kind: u32,
    /// Where the name of a section begins in the table of names.
    name: u32,
    offset: u64,
    size: u64,
}

impl Piece {
    /// Its size, of which no more than this is read.
    fn bounded(&self, most: usize) -> usize {
        usize::try_from(self.size).unwrap_or(most).min(most)
    }
}

impl Header {
    fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let class = match head.get(4)? {
            1 => Class::Bits32,
            2 => Class::Bits64,
            _ => return None,
        };
        let big_endian = match head.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let wide = class == Class::Bits64;
        let number = |at: usize, size: usize| number(head, at, size, big_endian);
        let place = |narrow: usize, at: usize| match wide {
            true => number(at, 8),
            false => number(narrow, 4),
        };
        // From e_phentsize on, 16-bit numbers: its size, count, and those of sections, names.
        let sizes = if wide { 54 } else { 42 };
        let short = |index: usize| {
            Some(usize::from(
                u16::try_from(number(sizes + 2 * index, 2)?).ok()?,
            ))
        };
        Some(Self {
            class,
            big_endian,
            machine: u16::try_from(number(18, 2)?).ok()?,
            segments: Table {
                offset: place(28, 32)?,
                entry: short(0)?,
                count: short(1)?,
            },
            sections: Table {
                offset: place(32, 40)?,
                entry: short(2)?,
                count: short(3)?,
            },
            names: short(4)?,
        })
    }

    fn wide(&self) -> bool {
        self.class == Class::Bits64
    }

    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        number(bytes, at, size, self.big_endian)
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<u32> {
        u32::try_from(self.number(bytes, at, 4)?).ok()
    }

    /// The entries of a table, as far as the file and our bound go.
    fn entries(&self, file: &impl Parts, table: Table) -> io::Result<Vec<Vec<u8>>> {
        let Table {
            offset,
            entry,
            count,
        } = table;
        if entry == 0 || entry > LARGEST_ENTRY {
            return Ok(Vec::new());
        }
        let bytes = file.part(offset, entry * count.min(MOST_ENTRIES))?;
        Ok(bytes.chunks_exact(entry).map(<[u8]>::to_vec).collect())
    }

    fn segments(&self, file: &impl Parts) -> io::Result<Vec<Piece>> {
        let segment = |entry: &Vec<u8>| {
            let (offset, size) = match self.wide() {
                true => (self.number(entry, 8, 8)?, self.number(entry, 32, 8)?),
                false => (self.number(entry, 4, 4)?, self.number(entry, 16, 4)?),
            };
            Some(Piece {
                kind: self.word(entry, 0)?,
                name: 0,
                offset,
                size,
            })
        };
        let entries = self.entries(file, self.segments)?;
        Ok(entries.iter().filter_map(segment).collect())
    }

    fn sections(&self, file: &impl Parts) -> io::Result<Vec<Piece>> {
        let section = |entry: &Vec<u8>| {
            let (offset, size) = match self.wide() {
                true => (self.number(entry, 24, 8)?, self.number(entry, 32, 8)?),
                false => (self.number(entry, 16, 4)?, self.number(entry, 20, 4)?),
            };
            Some(Piece {
                kind: self.word(entry, 4)?,
                name: self.word(entry, 0)?,
                offset,
                size,
            })
        };
        let entries = self.entries(file, self.sections)?;
        Ok(entries.iter().filter_map(section).collect())
    }

    fn names_a_go_section(&self, file: &impl Parts) -> io::Result<bool> {
        let sections = self.sections(file)?;
        let Some(table) = sections.get(self.names) else {
            return Ok(false);
        };
        let names = file.part(table.offset, table.bounded(LONGEST_NAMES))?;
        let is_go = |section: &Piece| {
            let start = usize::try_from(section.name).unwrap_or(usize::MAX);
            let name = names.get(start..).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            GO_SECTIONS.contains(&name)
        };
        Ok(sections.iter().any(is_go))
    }

    /// Whether one of these notes is the Go linker's build id.
    fn has_go_note(&self, mut notes: &[u8]) -> bool {
        while let (Some(name), Some(text), Some(kind)) = (
            self.word(notes, 0),
            self.word(notes, 4),
            self.word(notes, 8),
        ) {
            let Some(rest) = notes.get(12..) else { break };
            if kind == GO_BUILD_ID && name == 4 && rest.starts_with(b"Go\0\0") {
                return true;
            }
            let padded = |size: u32| usize::try_from(size).ok()?.checked_next_multiple_of(4);
            let Some(size) = padded(name)
                .zip(padded(text))
                .and_then(|(a, b)| a.checked_add(b))
            else {
                break;
            };
            let Some(next) = rest.get(size..) else { break };
            notes = next;
        }
        false
    }
}

/// An unsigned number of 2, 4 or 8 bytes.
fn number(bytes: &[u8], at: usize, size: usize, big_endian: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(match big_endian {
        true => bytes.iter().fold(0, push),
        false => bytes.iter().rev().fold(0, push),
    })
}

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
/// The type of the Go linker's build id among the notes of the name `Go`.
const GO_BUILD_ID: u32 = 4;
const GO_SECTIONS: [&[u8]; 3] = [b".note.go.buildid", b".gopclntab", b".go.buildinfo"];
/// Entries of the tables are 32 to 64 bytes long.
const LARGEST_ENTRY: usize = 256;
const MOST_ENTRIES: usize = 1024;
const LONGEST_PATH: usize = 4096;
const LONGEST_NOTES: usize = 16 * 1024;
const LONGEST_NAMES: usize = 256 * 1024;
