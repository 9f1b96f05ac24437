use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::clock::tests::Hand;

fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn pools(net: &str) -> Vec<Cidr> {
    vec![net.parse().unwrap()]
}

struct Fixture {
    folder: tempfile::TempDir,
    clock: Hand,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Hand::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("names")
    }

    fn open(&self, net: &str) -> Result<(Store, Arc<Mutex<Book>>), ResolverError> {
        let book = Arc::new(Mutex::new(Book::new(100, &[])));
        let store = Store::open(&self.path(), &pools(net), Arc::clone(&book), &self.clock)?;
        Ok((store, book))
    }

    fn place(&self, store: &Store, book: &Mutex<Book>, name: &str) -> u32 {
        let place = lock(book).place(host(name), self.clock.now()).unwrap();
        store.changed();
        place.number
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

const NET: &str = "198.18.0.0/15";

#[test]
fn names_have_their_addresses_again_after_a_restart() {
    let at = Fixture::new();
    let (store, book) = at.open(NET).unwrap();
    let a = at.place(&store, &book, "a.example");
    let b = at.place(&store, &book, "b.example");
    drop(store);
    let mode = fs::metadata(at.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(at.files(), ["names"], "nothing is left beside it");
    let (store, book) = at.open(NET).unwrap();
    assert_eq!(lock(&book).peek(a), Some(host("a.example")));
    assert_eq!(at.place(&store, &book, "b.example"), b);
}

#[test]
fn a_change_is_written_while_the_resolver_runs() {
    let at = Fixture::new();
    let (store, book) = at.open(NET).unwrap();
    at.place(&store, &book, "a.example");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !fs::read_to_string(at.path()).unwrap().contains("a.example") {
        assert!(std::time::Instant::now() < deadline, "it was never written");
        thread::sleep(Duration::from_millis(5));
    }
    drop(store);
}

#[test]
fn a_damaged_file_is_moved_aside_and_nothing_of_it_is_believed() {
    let line = |name: &str, place: u32| format!(r#"{{"name":"{name}","place":{place},"used":1}}"#);
    let file = |version: u32, lines: &[String]| {
        let names = lines.join(",");
        format!(r#"{{"version":{version},"pools":["{NET}"],"names":[{names}]}}"#)
    };
    let a = line("a.example", 1);
    for damaged in [
        String::new(),
        "{".to_owned(),
        file(2, std::slice::from_ref(&a)),
        file(1, &[a.clone(), line("b.example", 1)]),
        file(1, &[a.clone(), line("a.example", 2)]),
        file(1, &[a.clone(), line("b.example", 100)]),
        file(1, &[a.clone(), line("not a host", 2)]),
        file(1, std::slice::from_ref(&a)) + "x",
    ] {
        let at = Fixture::new();
        fs::write(at.path(), &damaged).unwrap();
        let (store, book) = at.open(NET).unwrap();
        assert_eq!(lock(&book).entries().count(), 0, "{damaged}");
        drop(store);
        assert_eq!(at.files(), ["names", "names.damaged"]);
        let aside = fs::read_to_string(at.folder.path().join("names.damaged")).unwrap();
        assert_eq!(aside, damaged);
    }
    let at = Fixture::new();
    fs::write(at.path(), file(1, &[a])).unwrap();
    let (_store, book) = at.open(NET).unwrap();
    assert_eq!(
        lock(&book).peek(1),
        Some(host("a.example")),
        "this one is good"
    );
}

#[test]
fn names_of_other_pools_are_forgotten() {
    let at = Fixture::new();
    let (store, book) = at.open(NET).unwrap();
    at.place(&store, &book, "a.example");
    drop(store);
    let (_store, book) = at.open("10.9.0.0/16").unwrap();
    assert_eq!(lock(&book).entries().count(), 0);
    assert_eq!(at.files(), ["names"]);
}

#[test]
fn a_place_where_nothing_can_be_kept_is_an_error_at_the_start() {
    let at = Fixture::new();
    fs::create_dir(at.path()).unwrap();
    let error = at.open(NET).unwrap_err();
    assert!(error.to_string().contains("names"), "{error}");
    assert!(error.help().contains("dns.fake_ip.file"));
    let nowhere = Fixture::new();
    drop(fs::remove_dir(nowhere.folder.path()));
    assert!(nowhere.open(NET).is_err());
    let fifo = Fixture::new();
    nix::unistd::mkfifo(&fifo.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(fifo.open(NET).is_err());
}

#[test]
fn a_clock_that_went_back_protects_no_address_for_longer() {
    let at = Fixture::new();
    let content = format!(
        r#"{{"version":1,"pools":["{NET}"],"names":[{{"name":"a.example","place":1,"used":{}}}]}}"#,
        u64::MAX
    );
    fs::write(at.path(), content).unwrap();
    let (_store, book) = at.open(NET).unwrap();
    let book = lock(&book);
    let (_, _, used) = book.entries().next().unwrap();
    assert_eq!(used, at.clock.now());
}
