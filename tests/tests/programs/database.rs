//! psql with PostgreSQL, and redis-cli with Redis.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use lab::{Family, Proc, eventually};

use crate::site::{NOBODY, Site};
use crate::{By, same_by};

/// The programs of the newest PostgreSQL server of Debian.
const SERVERS: &str = "/usr/lib/postgresql";

fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir(SERVERS).expect("it was required");
    let newest = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .max();
    newest.expect("a version of PostgreSQL")
}

/// A PostgreSQL of the site's own on the servers' host; it refuses to run as root.
fn postgres(site: &Site) -> Proc {
    let data = site.path("data");
    fs::create_dir(&data).expect("our directory can be written");
    chown(&data, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
    fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).expect("our directory");
    let programs = postgres_programs();
    site.srv
        .program(programs.join("initdb"))
        .args([
            "-A",
            "trust",
            "-U",
            "tester",
            "--no-locale",
            "-E",
            "UTF8",
            "--no-sync",
            "-D",
        ])
        .arg(&data)
        .user(NOBODY)
        .deadline(3 * lab::DEADLINE)
        .run()
        .expect_success();
    fs::write(data.join("pg_hba.conf"), "host all all all trust\n").expect("root writes all");
    let server = site
        .srv
        .program(programs.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args([
            "-h",
            "*",
            "-k",
            "",
            "-F",
            "-c",
            "autovacuum=off",
            "-c",
            "max_wal_senders=0",
        ])
        .user(NOBODY)
        .spawn();
    server.wait_line(|line| line.contains("ready to accept connections"));
    server
}

/// A conversation in which both sides speak much: a copy in, a copy out, an error.
const QUERIES: &str = "\
create temp table t (n int, text text);
insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 3000) n;
select count(*), md5(string_agg(text, '' order by n)) from t;
copy t to stdout;
select 1 / 0;
select inet_server_port();
";

#[test]
fn psql_talks_with_postgresql_unchanged() {
    lab::require!(Root, Cgroup2, Program("psql"), Path("/usr/lib/postgresql"));
    let site = Site::new("postgres");
    let server = postgres(&site);
    for family in Family::BOTH {
        let at = site.srv.at(family, 5432);
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        same_by(&site, &By::TRANSPARENT, at, |program| {
            program
                .args([
                    "sh",
                    "-c",
                    "exec \"$@\" 2>&1",
                    "sh",
                    "psql",
                    "-X",
                    "-q",
                    "-h",
                    &host,
                ])
                .args(["-p", &port, "-U", "tester", "-d", "postgres", "-f", "-"])
                .input(QUERIES)
        });
    }
    server.signal(lab::Signal::SIGINT);
    assert_eq!(server.wait(), lab::Status::Exited(0));
}

#[test]
fn redis_cli_talks_with_redis_unchanged() {
    lab::require!(Root, Cgroup2, Program("redis-cli"), Program("redis-server"));
    let site = Site::new("redis");
    let server = site
        .srv
        .program("redis-server")
        .args([
            "--port",
            "6379",
            "--bind",
            "*",
            "-::*",
            "--protected-mode",
            "no",
        ])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .current_dir(site.path(""))
        .spawn();
    eventually("the server listens", || {
        assert!(server.is_running(), "{server:#?}");
        site.app.connect(site.srv.at(Family::V6, 6379)).ok()
    });
    let commands = "\
FLUSHALL\nSET key value\nGET key\nINCRBY counter 41\nINCR counter\n\
EVAL \"for i=1,2000 do redis.call('RPUSH','list',string.rep(i,50)) end\" 0\n\
LLEN list\nLRANGE list 0 -1\nNOSUCHCOMMAND\n";
    for family in Family::BOTH {
        let at = site.srv.at(family, 6379);
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        same_by(&site, &By::TRANSPARENT, at, |program| {
            program
                .args(["redis-cli", "-h", &host, "-p", &port])
                .input(commands)
        });
    }
}
