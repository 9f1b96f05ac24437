//! The corpus, without a fuzzer.

use std::path::Path;

use super::*;

#[test]
fn whatever_is_in_the_corpus_everything_holds() {
    let targets: [(&str, fn(&[u8]), usize); 7] = [
        ("packets", packets, 20),
        ("http1", http1, 9),
        ("hello", hello, 11),
        ("quic", quic, 7),
        ("socks", socks, 8),
        ("absolute", absolute, 6),
        ("proxy_protocol", proxy_protocol, 6),
    ];
    for (target, holds, least) in targets {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(corpus).expect("the corpus is committed") {
            let path = entry.expect("a name").path();
            holds(&std::fs::read(&path).expect("an input"));
            count += 1;
        }
        assert!(count >= least, "{target}: {count} inputs");
    }
}

#[test]
fn an_input_that_is_written_is_read_again() {
    let records = [
        Record {
            inner: true,
            header: Some([7; 10]),
            later: 3,
            bytes: vec![1, 2, 3],
            ..Record::default()
        },
        Record {
            repaired: true,
            sweep: true,
            ..Record::default()
        },
    ];
    let bytes = write(true, true, &records);
    let script = script::Script::read(&bytes);
    assert!(script.frames && script.offloads);
    assert_eq!(script.collect::<Vec<_>>(), records);
}
