use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

impl Parts for &[u8] {
    fn part(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.get(start..).unwrap_or_default();
        Ok(rest[..rest.len().min(most)].to_vec())
    }
}

/// An ELF file of 64 bits with these segments.
fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &u16::try_from(segments.len()).unwrap().to_le_bytes());
    let mut place = 64 + 56 * segments.len();
    let mut contents = Vec::new();
    for (kind, content) in segments {
        let mut entry = [0; 56];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[8..16].copy_from_slice(&(place as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        file.extend_from_slice(&entry);
        contents.extend_from_slice(content);
        place += content.len();
    }
    file.extend_from_slice(&contents);
    file
}

fn executable(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_program_with_a_loader_is_dynamic_and_one_without_is_static() {
    let read = |file: Vec<u8>| elf::read(&file.as_slice()).unwrap().unwrap();
    let dynamic = read(elf(&[(6, b""), (3, b"/lib64/ld-linux-x86-64.so.2\0")]));
    assert_eq!(
        dynamic,
        Elf {
            class: Class::Bits64,
            machine: 62,
            linking: Linking::Dynamic {
                loader: "/lib64/ld-linux-x86-64.so.2".into()
            },
            go: false,
        }
    );
    assert_eq!(read(elf(&[(1, b"code")])).linking, Linking::Static);
}

#[test]
fn a_go_program_is_known_by_its_note() {
    let note = |kind: u8| {
        [
            b"\x04\0\0\0\x02\0\0\0".as_slice(),
            &[kind, 0, 0, 0],
            b"Go\0\0id\0\0",
        ]
        .concat()
    };
    let other = b"\x04\0\0\0\x04\0\0\0\x01\0\0\0GNU\0abcd".to_vec();
    let go = |notes: &[u8]| {
        elf::read(&elf(&[(4, notes)]).as_slice())
            .unwrap()
            .unwrap()
            .go
    };
    assert!(go(&note(4)));
    assert!(go(&[other.clone(), note(4)].concat()));
    assert!(!go(&note(5)));
    assert!(!go(&other));
}

#[test]
fn this_test_is_a_dynamic_program_that_gives_no_privileges() {
    let me = Program::read(&std::env::current_exe().unwrap()).unwrap();
    let Image::Elf(found) = &me.image else {
        panic!("{me:?}");
    };
    assert!(matches!(found.linking, Linking::Dynamic { .. }), "{me:?}");
    assert!(!found.go);
    assert!(!me.privileges.are_gained());
}

#[test]
fn a_script_is_what_its_interpreters_lead_to() {
    let dir = tempfile::tempdir().unwrap();
    let target = executable(dir.path(), "target", &elf(&[(1, b"code")]));
    let inner = executable(
        dir.path(),
        "inner",
        format!("#! {} -x\n", target.display()).as_bytes(),
    );
    let outer = executable(
        dir.path(),
        "outer",
        format!("#!{}", inner.display()).as_bytes(),
    );
    let program = Program::read(&outer).unwrap();
    assert_eq!(program.interpreters, [inner, target.clone()]);
    assert_eq!(program.executed(), target);
    assert!(matches!(
        program.image,
        Image::Elf(Elf {
            linking: Linking::Static,
            ..
        })
    ));
}

#[test]
fn what_env_looks_up_is_the_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let script = executable(dir.path(), "script", b"#!/usr/bin/env -S sh -e\n");
    let shell = Program::find("sh".as_ref()).unwrap();
    assert_eq!(Program::read(&script).unwrap().executed(), shell.path);
}

#[test]
fn text_without_a_first_line_is_the_shell_s() {
    let dir = tempfile::tempdir().unwrap();
    let script = executable(dir.path(), "script", b"echo hello\n");
    assert_eq!(Program::read(&script).unwrap().executed(), Path::new(SHELL));
}

#[test]
fn interpreters_without_end_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loop");
    let script = executable(
        dir.path(),
        "loop",
        format!("#!{}\n", path.display()).as_bytes(),
    );
    let error = Program::read(&script).unwrap_err();
    assert!(
        matches!(error, ProgramError::NotExecutable { .. }),
        "{error}"
    );
}

#[test]
fn a_setuid_program_of_another_user_gives_privileges() {
    let dir = tempfile::tempdir().unwrap();
    let file = executable(dir.path(), "tool", &elf(&[]));
    fs::set_permissions(&file, PermissionsExt::from_mode(0o4755)).unwrap();
    let privileges = Program::read(&file).unwrap().privileges;
    let nosuid = privileges == Privileges::default();
    let me = nix::unistd::getuid().as_raw();
    assert!(nosuid || privileges.user == Some(me), "{privileges:?}");
    assert!(!privileges.are_gained(), "one's own user is no gain");
    let another = Privileges {
        user: Some(me ^ 1),
        ..privileges
    };
    assert!(another.are_gained());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = elf::read(&bytes.as_slice());
        let _ = script::interpreter(&bytes);
    }

    #[test]
    fn no_broken_header_makes_the_parser_panic(
        at in 4..400_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        length in 0..500_usize,
    ) {
        let mut file = elf(&[(3, b"/lib/ld.so\0"), (4, b"\x04\0\0\0\x04\0\0\0\x04\0\0\0Go\0\0abcd")]);
        for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        file.truncate(length);
        let _ = elf::read(&file.as_slice());
    }
}
