//! Without privileges: real programs of the user nobody, by each method that needs no root.
//!
//! ```text
//! Ground (app ── srv: web, echo, ssh, DNS, the upstream proxy; a witness on the uplink)
//!    │
//! Errand (words of a program, where it goes) ─┬─ unsteered ─> what it says, the witness sees it
//!    │                                        └─ by Column ─> the same, or a refusal at the start
//!    └─ records: where it really went; the proxy: that it went through the engine
//! ```
//!
//! A program is a function of a [`Column`] in the file of its kind. The macro below makes one test
//! of it for each, so a test's name reads `netns::curl_gets_the_same_bytes`.

#[path = "rootless/column.rs"]
mod column;
#[path = "rootless/errand.rs"]
mod errand;
#[path = "rootless/ground.rs"]
mod ground;

#[path = "rootless/built.rs"]
mod built;
#[path = "rootless/cpython.rs"]
mod cpython;
#[path = "rootless/device.rs"]
mod device;
#[path = "rootless/python.rs"]
mod python;
#[path = "rootless/refusals.rs"]
mod refusals;
#[path = "rootless/runtimes.rs"]
mod runtimes;
#[path = "rootless/ssh.rs"]
mod ssh;
#[path = "rootless/starts.rs"]
mod starts;
#[path = "rootless/web.rs"]
mod web;

macro_rules! column {
    ($module:ident, $column:ident, $($kind:ident :: $program:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $program() {
                    super::$kind::$program(crate::column::Column::$column);
                }
            )*
        }
    };
}

macro_rules! programs {
    ([$($module:ident $column:ident),*] $programs:tt) => {
        $(programs! { @ $module $column $programs })*
    };
    (@ $module:ident $column:ident { $($kind:ident :: $program:ident)* }) => {
        column! { $module, $column, $($kind::$program)* }
    };
}

programs! {
    [netns Netns, tun Tun, seccomp Seccomp, preload Preload, env Env]
    {
        web::curl_gets_the_same_bytes
        web::wget_gets_the_same_bytes
        web::git_clones_the_same_repository
        web::chromium_shows_the_same_page
        python::urllib_gets_the_same_bytes
        python::sockets_see_no_difference
        python::asyncio_sees_no_difference
        refusals::connects_fail_with_the_same_errors
        runtimes::node_fetches_the_same_bytes
        runtimes::java_http_client_gets_the_same_bytes
        runtimes::a_static_go_program_gets_the_same_bytes
        runtimes::a_static_go_program_dials_the_same_servers
        ssh::ssh_runs_the_same_command
        starts::not_one_first_connect_goes_direct
    }
}

programs! {
    [ebpf Ebpf]
    {
        web::curl_gets_the_same_bytes
        web::wget_gets_the_same_bytes
        web::git_clones_the_same_repository
        python::urllib_gets_the_same_bytes
        python::sockets_see_no_difference
        python::asyncio_sees_no_difference
        runtimes::node_fetches_the_same_bytes
        runtimes::java_http_client_gets_the_same_bytes
        runtimes::a_static_go_program_gets_the_same_bytes
        runtimes::a_static_go_program_dials_the_same_servers
        starts::not_one_first_connect_goes_direct
    }
}
