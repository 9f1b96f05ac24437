//! Paths that the command does not see as they are outside.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::{USERS, python};

pub(crate) fn masked_paths_are_covered_inside_and_untouched_outside() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(dir.path(), 0o755);
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let socket = path("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    open(&socket, 0o666);
    let inner = path("inner");
    std::fs::create_dir(&inner).unwrap();
    let _other = UnixListener::bind(inner.join("socket")).unwrap();
    open(&inner.join("socket"), 0o666);
    let script = format!(
        "import socket, os\n\
         for path in ('{0}/socket', '{0}/inner/socket'):\n\
         \x20   s = socket.socket(socket.AF_UNIX)\n\
         \x20   try: s.connect(path); print('reached', path)\n\
         \x20   except OSError as e: print(type(e).__name__)\n\
         os.chdir('{0}/inner'); print(os.listdir('.'))",
        dir.path().display(),
    );
    for user in USERS {
        let masks: Vec<String> = ["socket", "inner", "none"]
            .map(|name| format!("mask={}", path(name).display()))
            .to_vec();
        let masks: Vec<&str> = masks.iter().map(String::as_str).collect();
        let bare = python(user, &[], &script).run().expect_success();
        assert_eq!(bare.matches("reached").count(), 2, "{bare}");
        let said = python(user, &masks, &script).run().expect_success();
        let lines: Vec<&str> = said.lines().skip(1).collect();
        assert_eq!(lines, ["ConnectionRefusedError", "FileNotFoundError", "[]"]);
        UnixStream::connect(&socket).unwrap();
        UnixStream::connect(inner.join("socket")).unwrap();
    }
}

pub(crate) fn a_masked_path_that_is_made_anew_is_covered_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let script = "import socket, sys, time\n\
        end = time.monotonic() + 10\n\
        def ask(path):\n\
        \x20   try: socket.socket(socket.AF_UNIX).connect(path); return 'reached'\n\
        \x20   except OSError as e: return type(e).__name__\n\
        print('ready', flush=True); sys.stdin.readline()\n\
        for path in sys.argv[1:]:\n\
        \x20   while ask(path) != 'ConnectionRefusedError' and time.monotonic() < end: pass\n\
        \x20   print(ask(path), flush=True)";
    for (turn, user) in USERS.into_iter().enumerate() {
        // One that is replaced, and one whose directory comes late.
        let there = dir.path().join(format!("{turn}.socket"));
        let late = dir.path().join(format!("{turn}/late"));
        let listen = |path: &Path| {
            let listener = UnixListener::bind(path).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
            listener
        };
        let _first = listen(&there);
        let masks = [&there, &late].map(|path| format!("mask={}", path.display()));
        let masks: Vec<&str> = masks.iter().map(String::as_str).collect();
        let command = python(user, &masks, script).args([&there, &late]).spawn();
        command.wait_line(|line| line == "ready");
        std::fs::remove_file(&there).unwrap();
        std::fs::create_dir(late.parent().unwrap()).unwrap();
        let _others = [listen(&there), listen(&late)];
        command.write(b"go\n");
        command.wait();
        let said = command.stdout();
        assert_eq!(said.matches("ConnectionRefusedError").count(), 2, "{said}");
        UnixStream::connect(&there).unwrap();
    }
}

pub(crate) fn a_file_in_the_place_of_another_is_seen_inside_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (system, ours) = (path("system"), path("ours"));
    std::fs::write(&system, "the system's").unwrap();
    std::fs::write(&ours, "the command's").unwrap();
    let script = format!("print(open('{system}').read()); print(open('{ours}').read())");
    for user in USERS {
        let cover = format!("cover={system}:{ours}");
        let said = python(user, &[&cover], &script).run().expect_success();
        let lines: Vec<&str> = said.lines().skip(1).collect();
        assert_eq!(lines, ["the command's"; 2]);
        assert_eq!(std::fs::read_to_string(&system).unwrap(), "the system's");
    }
    let cover = format!("cover={system}:{}", path("missing"));
    let failed = python(USERS[1], &[&cover], "print('ran')").run();
    assert!(
        failed
            .stdout
            .contains("a file of its own in the place of one"),
        "{failed:?}"
    );
    assert!(!failed.stdout.contains("ran\n"), "{failed:?}");
}
