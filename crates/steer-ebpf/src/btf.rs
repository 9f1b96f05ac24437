//! Where the running kernel keeps what the programs read: by its own description of its types (BTF).

use std::fs;
use std::sync::OnceLock;

/// What the programs are told before they are loaded, by the names of their constants. 0 means that
/// they do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `TASK_GROUP_LEADER`: which thread leads the process of a task, in bytes from its start.
    pub(crate) group_leader: u32,
    /// `TASK_COMM`: the name of a task.
    pub(crate) comm: u32,
    /// `HAS_MPTCP`: whether a socket of MPTCP is one.
    pub(crate) mptcp: u32,
}

impl Layout {
    /// That of this kernel; nothing where it does not say.
    pub(crate) fn of_this_kernel() -> Self {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        *LAYOUT.get_or_init(|| {
            let bytes = fs::read(BTF).unwrap_or_default();
            Self::of(&bytes).unwrap_or_default()
        })
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let btf = Btf::parse(bytes)?;
        let task = btf.structure("task_struct");
        let in_task = |name| task.and_then(|task| btf.offset(task, name)).unwrap_or(0);
        let mptcp = btf.structure("mptcp_sock");
        Some(Self {
            group_leader: in_task("group_leader"),
            comm: in_task("comm"),
            // Without MPTCP there is an empty one.
            mptcp: mptcp.is_some_and(|socket| socket.members > 0).into(),
        })
    }
}

/// A kernel's types (Documentation/bpf/btf.rst), as far as they are asked about here.
#[derive(Debug)]
struct Btf<'a> {
    /// By their numbers, from 1 on.
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// How many members it has.
    members: usize,
    /// Whether a member's place shares its number with a width.
    has_widths: bool,
    /// What is behind its head.
    rest: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (magic, _) = bytes.split_first_chunk::<2>()?;
        if u16::from_ne_bytes(*magic) != MAGIC {
            return None;
        }
        // The head: magic and version, its length, then start and length of types and of strings.
        let field = |index: usize| number(bytes, index).and_then(|n| usize::try_from(n).ok());
        let body = bytes.get(field(1)?..)?;
        let section = |at: usize, length: usize| body.get(at..)?.get(..length);
        let mut left = section(field(2)?, field(3)?)?;
        let strings = section(field(4)?, field(5)?)?;
        let mut types = Vec::new();
        while !left.is_empty() {
            let (name, info) = (number(left, 0)?, number(left, 1)?);
            let members = usize::try_from(info & 0xffff).ok()?;
            let kind = info >> 24 & 0x1f;
            let behind = left.get(HEAD..)?;
            let (rest, further) = behind.split_at_checked(length(kind, members)?)?;
            types.push(Type {
                name,
                kind,
                members,
                has_widths: info >> 31 != 0,
                rest,
            });
            left = further;
        }
        Some(Self { types, strings })
    }

    /// A structure by its name.
    fn structure(&self, name: &str) -> Option<Type<'a>> {
        let mut types = self.types.iter();
        let found = types.find(|t| t.kind == STRUCT && self.is_called(t.name, name));
        found.copied()
    }

    /// Where a member is, in bytes from the start; one of a structure without a name is the outer
    /// one's (`randomized_struct_fields_start`).
    fn offset(&self, structure: Type<'a>, wanted: &str) -> Option<u32> {
        (0..structure.members).find_map(|index| {
            let [name, of, place] = [0, 1, 2].map(|part| number(structure.rest, 3 * index + part));
            let (name, of, place) = (name?, of?, place?);
            let bits = if structure.has_widths {
                place & 0x00ff_ffff
            } else {
                place
            };
            if self.is_called(name, wanted) {
                return Some(bits / u8::BITS);
            }
            let inner = self.types.get(usize::try_from(of).ok()?.checked_sub(1)?)?;
            let is_nameless = self.is_called(name, "") && matches!(inner.kind, STRUCT | UNION);
            let within = is_nameless.then(|| self.offset(*inner, wanted)).flatten()?;
            Some(bits / u8::BITS + within)
        })
    }

    fn is_called(&self, at: u32, name: &str) -> bool {
        let text = usize::try_from(at)
            .ok()
            .and_then(|at| self.strings.get(at..));
        let behind = text.and_then(|text| text.strip_prefix(name.as_bytes()));
        behind.is_some_and(|behind| behind.first() == Some(&0))
    }
}

/// How much follows the head of a type; none for a kind that is not known.
fn length(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, names and qualifiers, functions, floats, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Enumerations, and what functions take.
        6 | 13 => 8 * members,
        // Structures, unions, sections, enumerations of 64 bits.
        STRUCT | UNION | 15 | 19 => 12 * members,
        _ => return None,
    })
}

/// A number of 32 bits by its index.
fn number(bytes: &[u8], index: usize) -> Option<u32> {
    let (word, _) = bytes.get(4 * index..)?.split_first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

/// Where the kernel shows its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// The length of a type's head.
const HEAD: usize = 12;
const STRUCT: u32 = 4;
const UNION: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0task_struct\0group_leader\0comm\0mptcp_sock\0";

    /// Where a name begins.
    fn at(name: &str) -> u32 {
        let name = [b"\0", name.as_bytes(), b"\0"].concat();
        let mut windows = STRINGS.windows(name.len());
        u32::try_from(windows.position(|w| w == name).unwrap() + 1).unwrap()
    }

    /// A description of these types.
    fn described(types: &[u32]) -> Vec<u8> {
        let (types, strings) = (words(types), u32::try_from(STRINGS.len()).unwrap());
        let length = u32::try_from(types.len()).unwrap();
        let head = words(&[u32::from(MAGIC) | 1 << 16, 24, 0, length, length, strings]);
        [&head, &types, STRINGS].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn members_are_found_also_in_structures_without_a_name() {
        let types = described(
            &[
                // 1: an integer.
                [0, 1 << 24, 4, 32].as_slice(),
                // 2: the nameless one, with the leader.
                &[0, STRUCT << 24 | 1, 8, at("group_leader"), 1, 64],
                // 3: a task, whose places share their numbers with widths.
                &[at("task_struct"), 1 << 31 | STRUCT << 24 | 2, 64],
                &[0, 2, 128, at("comm"), 1, 8 << 24 | 256],
                // 4: a socket of a kernel without MPTCP.
                &[at("mptcp_sock"), STRUCT << 24, 0],
            ]
            .concat(),
        );
        let layout = Layout::of(&types).unwrap();
        let expected = Layout {
            group_leader: 16 + 8,
            comm: 32,
            mptcp: 0,
        };
        assert_eq!(layout, expected);
    }

    #[test]
    fn what_is_cut_off_or_not_known_says_nothing() {
        let types = described(&[at("mptcp_sock"), STRUCT << 24 | 1, 4, 0, 0, 0]);
        let layout = Layout::of(&types).unwrap();
        assert_eq!((layout.comm, layout.mptcp), (0, 1));
        for end in 0..types.len() {
            assert_eq!(Layout::of(&types[..end]), None, "{end}");
        }
        assert_eq!(Layout::of(&described(&[0, 31 << 24, 0])), None);
    }
}
