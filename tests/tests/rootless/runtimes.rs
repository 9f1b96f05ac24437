//! Node, Java and Go.

use lab::Family;

use crate::built::{self, Built};
use crate::column::Column;
use crate::errand::{Errand, Promise, Visit};
use crate::ground::{Ground, NAME};

pub(crate) fn node_fetches_the_same_bytes(column: Column) {
    lab::require!(Root, Program("node"), Program("dnsmasq"));
    let ground = Ground::new("node");
    let script = ground.write("fetch.mjs", include_str!("programs/fetch.mjs"));
    let words = ["node".to_owned(), script.display().to_string()];
    let words = words.into_iter().chain(ground.urls("/bytes/300000"));
    Errand::new(words, Visit::all(&ground, 80, 8080))
        .except(Column::Env, variables_and_node(&ground))
        .hold(&ground, column);
}

/// What the variables promise of this Node: it reads them from some version on, which shows before
/// it starts where the code is in the program itself.
fn variables_and_node(ground: &Ground) -> Promise {
    const SAY: &str = "\
const [major, minor] = process.versions.node.split('.').map(Number);
const reads = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
console.log(reads ? 'reads' : process.config.variables.node_shared ? 'shared' : 'whole');";
    let words = ["node", "-e", SAY].map(str::to_owned);
    match ground.program(&words).run().expect_success().trim() {
        "reads" => Promise::Steered,
        "shared" => Promise::Caught,
        _ => Promise::Refused("reads no proxy variable"),
    }
}

pub(crate) fn java_http_client_gets_the_same_bytes(column: Column) {
    lab::require!(Root, Program("java"), Program("javac"), Program("dnsmasq"));
    let ground = Ground::new("java");
    let classes = built::path(Built::Java);
    ground.copy(&classes.join("Fetch.class"), "Fetch.class");
    let words = ["java", "-XX:TieredStopAtLevel=1", "-cp", "."].map(str::to_owned);
    let words = words.into_iter().chain(["Fetch".to_owned()]);
    let words = words.chain(ground.urls("/bytes/300000"));
    Errand::new(words, Visit::all(&ground, 80, 8080)).hold(&ground, column);
}

pub(crate) fn a_static_go_program_gets_the_same_bytes(column: Column) {
    lab::require!(Root, Program("go"), Program("dnsmasq"));
    let ground = Ground::new("go");
    ground.copy(&built::path(Built::Go), "program");
    let words = [ground.word("program"), "get".to_owned()];
    let words = words.into_iter().chain(ground.urls("/bytes/300000"));
    Errand::new(words, Visit::all(&ground, 80, 8080))
        .except(Column::Preload, Promise::Refused("static"))
        .hold(&ground, column);
}

/// By sockets of its own: no variable tells it of a proxy, no library can stand in between.
pub(crate) fn a_static_go_program_dials_the_same_servers(column: Column) {
    lab::require!(Root, Program("go"), Program("dnsmasq"));
    let ground = Ground::new("go-dial");
    ground.copy(&built::path(Built::Go), "program");
    let words = [ground.word("program"), "dial".to_owned()];
    let [v4, v6] = Family::BOTH.map(|family| ground.at(family, 7).to_string());
    let words = words.into_iter().chain([v4, v6, format!("{NAME}:8007")]);
    Errand::new(words, Visit::all(&ground, 7, 8007))
        .except(Column::Preload, Promise::Refused("static"))
        .except(Column::Env, Promise::Caught)
        .hold(&ground, column);
}
