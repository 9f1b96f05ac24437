//! Whatever a client sends, what it gets for it does not depend on how its bytes were cut.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::identity::pieces;
use crate::lab::{Lab, pause};

/// What heads and bodies are made of, and what breaks them.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\n",
    "HEAD http://a/ HTTP/1.0\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "5\r\nhello\r\n",
    "0\r\n",
    "\r\n",
    "hello",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "\u{e9}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_answers_do_not_depend_on_the_cuts(
        parts in vec(select(PARTS), 1..14),
        cuts in vec(any::<Index>(), 1..12),
    ) {
        let bytes = parts.concat().into_bytes();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime");
        let whole = runtime.block_on(answers(&bytes, &[]));
        let cut = runtime.block_on(answers(&bytes, &cuts));
        prop_assert_eq!(whole, cut);
    }
}

/// What the client gets, without dates, and how the session ends.
async fn answers(bytes: &[u8], cuts: &[Index]) -> (Vec<String>, String, usize) {
    let mut running = Lab::new([]).start();
    for piece in pieces(bytes, cuts) {
        running.write(piece).await;
        pause().await;
    }
    running.end().await;
    let answer = running.rest().await;
    let dated = |line: &&str| !line.starts_with("date: ");
    let lines = answer.lines().filter(dated).map(str::to_owned).collect();
    let ran = running.ended().await;
    assert!(ran.shut, "a client that was answered is left in order");
    (lines, format!("{:?}", ran.result), ran.ends.len())
}
