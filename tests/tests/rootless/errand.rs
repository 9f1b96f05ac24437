//! What a program is to do, and what must be seen of it.

use std::fs;
use std::net::SocketAddr;

use lab::{Family, Output, Program, Status};
use steer_tests::Record;

use crate::column::Column;
use crate::ground::{self, Ground, NAME};

/// A command, the destinations that it goes to, and what the methods promise of it.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    words: Vec<String>,
    input: String,
    visits: Vec<Visit>,
    exceptions: Vec<(Column, Promise)>,
    restless: bool,
}

/// A destination as the program means it.
#[derive(Clone, Debug)]
pub(crate) enum Visit {
    Address(SocketAddr),
    /// The port of the name that the resolver knows.
    Name(u16),
}

/// What becomes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is steered, and sees no difference.
    Steered,
    /// It is not started, and these words say why.
    Refused(&'static str),
    /// It ignores the method, which cannot be known before: `--verify` finds out.
    Caught,
}

impl Errand {
    /// A command and where it goes.
    pub(crate) fn new(
        words: impl IntoIterator<Item = impl Into<String>>,
        visits: impl IntoIterator<Item = Visit>,
    ) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            input: String::new(),
            visits: visits.into_iter().collect(),
            exceptions: Vec::new(),
            restless: false,
        }
    }

    /// What it reads from its standard input.
    pub(crate) fn input(mut self, text: String) -> Self {
        self.input = text;
        self
    }

    /// What a method promises that is not to steer it.
    pub(crate) fn except(mut self, column: Column, promise: Promise) -> Self {
        self.exceptions.push((column, promise));
        self
    }

    /// The program also goes where nobody asked it to, such as its maker's servers; they do not
    /// exist in the lab.
    pub(crate) fn restless(mut self) -> Self {
        self.restless = true;
        self
    }

    /// Holds the method to what it promises.
    #[track_caller]
    pub(crate) fn hold(&self, ground: &Ground, column: Column) {
        let unsteered = self.unsteered(ground);
        let exception = self.exceptions.iter().find(|(of, _)| *of == column);
        match exception.map_or(Promise::Steered, |(_, promise)| *promise) {
            Promise::Steered => self.steered(ground, column, &unsteered),
            Promise::Refused(words) => self.refused(ground, column, words),
            Promise::Caught => self.caught(ground, column),
        }
    }

    /// What it says by itself; the witness sees every visit.
    fn unsteered(&self, ground: &Ground) -> String {
        ground.look_away();
        let said = self.program(ground, &self.words).run().expect_success();
        assert!(!said.is_empty(), "a command that says something");
        let direct = ground.direct_connections();
        for visit in &self.visits {
            let seen = direct
                .iter()
                .any(|p| visit.is(ground, &p.destination.to_string()));
            assert!(seen, "the witness sees {visit:?}: {direct:#?}");
        }
        said
    }

    fn steered(&self, ground: &Ground, column: Column, unsteered: &str) {
        let asked = ground.asked().len();
        let output = self.run(ground, column, ground.steer(column));
        assert_eq!(output.status, Status::Exited(0), "{column:?}: {output:#?}");
        let differs = unsteered
            .lines()
            .zip(output.stdout.lines())
            .find(|(u, s)| u != s);
        assert!(
            output.stdout == unsteered,
            "{column:?}: {} bytes, not {}; the first line that differs: {differs:?}; {}",
            output.stdout.len(),
            unsteered.len(),
            output.stderr
        );
        self.hold_records(ground, column, asked);
        let direct = ground.direct_connections();
        assert!(direct.is_empty(), "{column:?}: went direct: {direct:#?}");
        if column.confines() {
            let direct = ground.direct_datagrams();
            assert!(direct.is_empty(), "{column:?}: went direct: {direct:#?}");
        }
        if column.hands_over() {
            let output = self.run(ground, column, ground.plainly(column));
            self.same("handed over", &output, unsteered);
        }
        if self.restless {
            // Answers to lookups that it has given up make the kernel send ICMP, which is counted.
            return;
        }
        let mut verified = ground.steer(column);
        verified.push("--verify".to_owned());
        let output = self.run(ground, column, verified);
        self.same("verified", &output, unsteered);
    }

    fn same(&self, how: &str, output: &Output, unsteered: &str) {
        assert_eq!(output.status, Status::Exited(0), "{how}: {output:#?}");
        assert_eq!(output.stdout, unsteered, "{how}: {}", output.stderr);
    }

    /// Every visit is recorded as what it was, and nothing else is; `before` is how much the proxy
    /// had been asked.
    fn hold_records(&self, ground: &Ground, column: Column, before: usize) {
        let records = ground.records().all();
        let to = |record: &Record| {
            record["destination"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        for visit in &self.visits {
            let made = |record: &Record| visit.is(ground, &to(record)) && record["outcome"] == "ok";
            assert!(
                records.iter().any(made),
                "{column:?}: a record of {visit:?}: {records:#?}"
            );
        }
        let resolver = ground.at(Family::V4, 53).to_string();
        for record in &records {
            assert_eq!(record["method"], column.method(), "{record:?}");
            let asked = self
                .visits
                .iter()
                .any(|visit| visit.is(ground, &to(record)));
            let lookup = record["protocol"] == "udp" && to(record) == resolver;
            let in_vain = self.restless && record["outcome"] != "ok";
            assert!(
                asked || lookup || in_vain,
                "{column:?}: nobody asked for this: {record:?}"
            );
        }
        // What went through the engine is in the log, one for one.
        let visited = |to: &str| self.visits.iter().any(|visit| visit.is(ground, to));
        let carried = ground.asked();
        let carried = carried
            .iter()
            .skip(before)
            .filter(|it| it.protocol == "socks5");
        let carried = carried.filter(|it| visited(&it.target)).count();
        let made = records
            .iter()
            .filter(|it| it["protocol"] == "tcp" && visited(&to(it)));
        let made = made.filter(|it| it["upstream"] != "none").count();
        assert_eq!(
            made, carried,
            "{column:?}: recorded, and carried: {records:#?}"
        );
    }

    fn refused(&self, ground: &Ground, column: Column, words: &str) {
        let output = self.run(ground, column, ground.steer(column));
        assert_eq!(
            output.status,
            Status::Exited(125),
            "{column:?}: {output:#?}"
        );
        assert!(output.stderr.contains(words), "{column:?}: {output:#?}");
        assert_eq!(output.stdout, "", "{column:?}: it was not started");
        let direct = ground.direct_connections();
        assert!(
            direct.is_empty(),
            "{column:?}: it was not started: {direct:#?}"
        );
    }

    fn caught(&self, ground: &Ground, column: Column) {
        let mut steer = ground.steer(column);
        steer.push("--verify".to_owned());
        let output = self.run(ground, column, steer);
        assert_ne!(output.status, Status::Exited(0), "{column:?}: {output:#?}");
        // The first: there it is refused, and may give up.
        if let Some(Visit::Address(at)) = self.visits.first() {
            let named = output.stderr.contains(&at.to_string());
            assert!(named, "{column:?}: {at} is named: {output:#?}");
        }
        let direct = ground.direct_connections();
        assert!(
            direct.is_empty(),
            "{column:?}: it is refused, too: {direct:#?}"
        );
    }

    /// Runs it behind these words, with a log and a witness of its own.
    fn run(&self, ground: &Ground, column: Column, mut words: Vec<String>) -> Output {
        // The log of a run before this one.
        let _ = fs::remove_file(ground.path("records.json"));
        ground.look_away();
        words.push("--".to_owned());
        if column != Column::Ebpf {
            words.extend(self.words.iter().cloned());
            return self.program(ground, &words).run();
        }
        words.extend(ground::TO_NOBODY.split(' ').map(str::to_owned));
        words.extend(self.words.iter().cloned());
        let program = ground.program_of_root(&words).input(self.input.as_str());
        program.run()
    }

    fn program(&self, ground: &Ground, words: &[String]) -> Program {
        ground.program(words).input(self.input.as_str())
    }
}

impl Visit {
    /// Addresses of both families at a port, and the name at another one.
    pub(crate) fn all(ground: &Ground, port: u16, named: u16) -> [Self; 3] {
        let [v4, v6] = Family::BOTH.map(|family| Self::Address(ground.at(family, port)));
        [v4, v6, Self::Name(named)]
    }

    /// Whether a destination is this one: the name may have been resolved by the program.
    fn is(&self, ground: &Ground, destination: &str) -> bool {
        match self {
            Self::Address(at) => destination == at.to_string(),
            Self::Name(port) => {
                let resolved = Family::BOTH.map(|family| ground.at(family, *port).to_string());
                destination == format!("{NAME}:{port}") || resolved.contains(&destination.into())
            }
        }
    }
}
