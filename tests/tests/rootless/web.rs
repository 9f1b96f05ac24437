//! curl, wget, git and a browser.

use std::fs;
use std::path::Path;

use lab::{Family, Proc, Program};

use crate::column::Column;
use crate::errand::{Errand, Visit};
use crate::ground::{Ground, NAME};

pub(crate) fn curl_gets_the_same_bytes(column: Column) {
    lab::require!(Root, Program("curl"), Program("dnsmasq"));
    let ground = Ground::new("curl");
    // Down, and up in the same process.
    const SCRIPT: &str = "\
set -e
for url; do
    curl -sS --fail $url/bytes/300000 | sha256sum
    head -c 200000 /dev/zero |
        curl -sS --fail -T - -H Expect: -H Transfer-Encoding: -H 'Content-Length: 200000' $url/digest
done";
    let words = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned);
    let words = words.into_iter().chain(ground.urls(""));
    Errand::new(words, Visit::all(&ground, 80, 8080)).hold(&ground, column);
}

pub(crate) fn wget_gets_the_same_bytes(column: Column) {
    lab::require!(Root, Program("wget"), Program("dnsmasq"));
    let ground = Ground::new("wget");
    const SCRIPT: &str = "set -e; for url; do wget -q -t 1 -O - $url | sha256sum; done";
    let words = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned);
    let words = words.into_iter().chain(ground.urls("/bytes/300000"));
    Errand::new(words, Visit::all(&ground, 80, 8080)).hold(&ground, column);
}

pub(crate) fn git_clones_the_same_repository(column: Column) {
    lab::require!(Root, Program("git"), Program("python3"), Program("dnsmasq"));
    const MAKE: &str = "\
set -e
git init -q -b main work
cd work
head -c 400000 /dev/urandom > noise
for n in 1 2 3; do
    echo $n > file; git add .
    git -c user.name=n -c user.email=e@example.com commit -q -m commit-$n
done
git tag v1
cd ..
git clone -q --bare work repo.git
git -C repo.git update-server-info";
    const CLONE: &str = "\
set -e
export GIT_CONFIG_NOSYSTEM=1
for at; do
    rm -rf clone
    git clone -q http://$at/repo.git clone 2>&1
    git -C clone fsck --full 2>&1
    git -C clone log --format='%H %s' v1
    sha256sum clone/noise clone/file
done";
    let ground = Ground::new("git");
    let served = ground.folder("served");
    let make = Program::new("sh").args(["-c", MAKE]).current_dir(&served);
    let make = make
        .env("HOME", ground.path("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1");
    make.run().expect_success();
    let _server = serve_folder(&ground, &served);
    let at = |family| ground.at(family, 8000).to_string();
    let words = ["sh", "-c", CLONE, "sh"].map(str::to_owned);
    let [v4, v6] = Family::BOTH.map(at);
    let words = words.into_iter().chain([v4, v6, format!("{NAME}:8000")]);
    Errand::new(words, Visit::all(&ground, 8000, 8000)).hold(&ground, column);
}

/// A page by name, whose scripts come by address.
pub(crate) fn chromium_shows_the_same_page(column: Column) {
    lab::require!(
        Root,
        Program("chromium"),
        Program("python3"),
        Program("dnsmasq")
    );
    let ground = Ground::new("chromium");
    let served = ground.folder("served");
    let [v4, v6] = Family::BOTH.map(|family| ground.at(family, 8000));
    let page = format!(
        "<!doctype html><title>a page</title><p id=p>nothing came</p>\n\
         <script src=\"http://{v4}/v4.js\"></script><script src=\"http://{v6}/v6.js\"></script>\n\
         <link rel=icon href=\"data:,\">\n"
    );
    fs::write(served.join("page.html"), page).expect("our directory can be written");
    for (name, script) in [
        ("v4.js", "p.textContent = 'by IPv4'"),
        ("v6.js", "p.textContent += ' and IPv6'"),
    ] {
        fs::write(served.join(name), script).expect("our directory can be written");
    }
    let _server = serve_folder(&ground, &served);
    // The sandbox of its own is made by a setuid program or user namespaces, which neither root's
    // containers nor namespaces of steer grant everywhere.
    let words = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--dump-dom",
    ];
    let words = words.map(str::to_owned).into_iter().chain([
        format!("--user-data-dir={}", ground.word("profile")),
        format!("http://{NAME}:8000/page.html"),
    ]);
    Errand::new(words, Visit::all(&ground, 8000, 8000))
        .restless()
        .hold(&ground, column);
}

/// Serves a folder on port 8000 of the servers' host, in both families.
fn serve_folder(ground: &Ground, folder: &Path) -> Proc {
    let server = ground
        .srv
        .program("python3")
        .args(["-u", "-m", "http.server", "8000", "--bind", "::"])
        .arg("--directory")
        .arg(folder)
        .spawn();
    server.wait_line(|line| line.starts_with("Serving HTTP"));
    server
}
